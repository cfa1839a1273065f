"""Keras 2: functional models in HDF5, with their architecture or, where it is known, without."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import CheckpointError
from deepseg_export.families import options as shared
from deepseg_export.families.checkpoint import Checkpoint, ReadyGraph
from deepseg_export.families.keras.checking import converted
from deepseg_export.families.keras.known import GRID, KNOWN, find_known
from deepseg_export.families.keras.layers import check_model
from deepseg_export.families.keras.model import Model, read_model
from deepseg_export.families.keras.release import read_release
from deepseg_export.families.keras.surroundings import SURROUNDINGS, of_shapes
from deepseg_export.families.options import bundle_name, source_record
from deepseg_export.reading.archive import opened_model
from deepseg_export.reading.checkpoint import file_sha256
from deepseg_export.reading.documents import read_json
from deepseg_export.reading.hdf5 import KerasFile, read_hdf5

logger = logging.getLogger(__name__)

PACKAGES = ("h5py",)
FOLD = "0"
SUFFIXES = (".hdf5", ".h5", ".onnx", ".json")
ONNX_RELEASE = "gray_matter_aspp"
"""Architecture of the ONNX files of the Spinal Cord Toolbox that are taken."""


@dataclass(frozen=True, kw_only=True)
class Options(shared.Options):
    """Choices of the user about a Keras model.

    Attributes
    ----------
    files : sequence of str
        Name of the file to take, where a folder or archive has several.
    """

    files: Sequence[str] = ()


def load(model: Path | Sequence[Path], options: Options) -> Checkpoint:
    """Read a Keras model.

    Parameters
    ----------
    model : Path, or sequence of Path
        An HDF5 file or one of SCT's ONNX files, or folders or zips with one.
    options : Options
        The user's choices.

    Returns
    -------
    checkpoint : Checkpoint
        Manifest and one network, a `ReadyGraph` that was checked on a drawn neck.

    Raises
    ------
    CheckpointError
        If the file is missing, ambiguous, damaged or hostile, or its weights are not those of the
        architecture.
    UnsupportedError
        If the model has what is not computed here; all of it is listed.
    """
    bundle_name(options, "")
    sources = (model,) if isinstance(model, Path) else tuple(model)
    if len(sources) == 1 and sources[0].suffix.lower() in SUFFIXES[:3]:
        return _load_file(sources[0], options)
    with opened_model(sources, _is_wanted) as root:
        return _load_file(_find(root, ", ".join(map(str, sources)), options.files), options)


def _is_wanted(member: PurePosixPath) -> bool:
    return "__MACOSX" not in member.parts and member.suffix.lower() in SUFFIXES


def _find(root: Path, given: str, wanted: Sequence[str]) -> Path:
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES[:3] and p.is_file())
    chosen = [path for path in found if not wanted or path.name in wanted]
    if len(chosen) != 1:
        names = ", ".join(path.name for path in chosen or found) or "no HDF5 file"
        raise CheckpointError(f"{given} holds {names}; give the one file that is meant.")
    return chosen[0]


def _load_file(path: Path, options: Options) -> Checkpoint:
    beside = path.with_suffix(".json")
    settings = read_json(beside) if beside.is_file() else {}
    if path.suffix.lower() == ".onnx":
        known: str | None = ONNX_RELEASE
        shape: tuple[int, ...] = (1, GRID, GRID)
        graph, classes = read_release(path, shape), 1
    else:
        file = read_hdf5(path)
        known, model = _model_of(file, path, settings)
        check_model(model)
        shape, classes = model.shape, _output_channels(model)
        graph = converted(model, _weights(file, path, model), (classes, *shape[1:]))
    _log(graph, known)
    output_shape = (classes, *shape[1:])
    around = SURROUNDINGS[known] if known else of_shapes(shape, output_shape)
    used = [path, beside] if settings else [path]
    details = {"architecture": known or "of the file", "file": path.name}
    manifest = {
        "schema": 1,
        "name": bundle_name(options, path.stem),
        "version": options.release,
        **around,
        "ensemble": "mean_logits",
        "mirror_axes": [],
        "source": source_record(
            "keras", options, details, {each.name: file_sha256(each) for each in used}
        ),
    }
    return Checkpoint(manifest, {FOLD: graph}, shape, output_shape)


def _model_of(file: KerasFile, path: Path, settings: Mapping[str, Any]) -> tuple[str | None, Model]:
    """Return the name of an architecture where it is a known one, and the model."""
    if file.config is not None:
        return None, read_model(file.config)
    known = find_known([name for name, arrays in file.layers.items() if arrays])
    if known is None:
        raise CheckpointError(
            f"{path} holds weights without model_config, of layers that are not known; the file of "
            "a whole model is needed (Keras: model.save)."
        )
    filters = next(iter(arrays for arrays in file.layers.values() if arrays))[0].shape[-1]
    said = settings.get("filters", filters)
    if said != filters:
        raise CheckpointError(
            f"{path} has {filters} filters and the JSON beside it says {str(said)[:20]}; get both "
            "again."
        )
    return known, KNOWN[known].make(int(filters))


def _weights(file: KerasFile, path: Path, model: Model) -> Weights:
    named: dict[str, np.ndarray] = {
        f"{name}/{number}": array
        for name, arrays in file.layers.items()
        for number, array in enumerate(arrays)
    }
    return Weights(named, str(path), "its layers")


def _output_channels(model: Model) -> int:
    """Return how many channels the output has, as its last convolution says."""
    by_name = {layer.name: layer for layer in model.layers}
    layer = by_name[model.output]
    while "filters" not in layer.options:
        if len(layer.inputs) != 1:
            raise CheckpointError(f"{layer.name} is the output; a convolution before it is needed.")
        layer = by_name[layer.inputs[0]]
    return int(layer.options["filters"])


def _log(graph: ReadyGraph, known: str | None) -> None:
    if not graph.facts["foreground"]:
        logger.warning(
            "The network finds nothing in a drawn neck, so that the check says little; compare "
            "results with the original's."
        )
    if known is None:
        logger.warning(
            "The file says nothing of what comes before and after the network: the manifest has "
            "standardised intensities and a threshold of 0.5. Change it to what the model needs."
        )
