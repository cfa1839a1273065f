"""ivadomed: a folder or zip with ``NAME.json`` and ``NAME.onnx`` or ``NAME.pt``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families import options as shared
from deepseg_export.families.checkpoint import Checkpoint
from deepseg_export.families.ivadomed.configuration import read_configuration
from deepseg_export.families.ivadomed.ensemble import joined
from deepseg_export.families.ivadomed.folder import (
    ModelFiles,
    find_model,
    find_models,
    is_wanted,
)
from deepseg_export.families.ivadomed.onnx_graph import read_graph
from deepseg_export.families.ivadomed.outputs import (
    read_channel_names,
    read_outputs,
    read_postprocessing,
    read_suffixes,
)
from deepseg_export.families.ivadomed.preprocessing import (
    is_3d,
    read_axes,
    read_steps,
    read_transformations,
    read_window,
)
from deepseg_export.families.ivadomed.rebuilding import rebuild
from deepseg_export.families.options import bundle_name, set_prior, source_record
from deepseg_export.reading.archive import opened_model
from deepseg_export.reading.checkpoint import file_sha256
from deepseg_lite.errors import OptionError

logger = logging.getLogger(__name__)

FOLD = "0"
_OTHER_NETWORKS = ("FiLMedUnet", "HeMISUnet")


@dataclass(frozen=True, kw_only=True)
class Options(shared.Options):
    """Choices of the user about an ivadomed model.

    Attributes
    ----------
    prior : str or None
        Bundle of the model that runs first.
    is_ensemble : bool
        Whether separate models are given, whose results are averaged.
    """

    prior: str | None = None
    is_ensemble: bool = False


def load(model: Path | Sequence[Path], options: Options) -> Checkpoint:
    """Read a trained ivadomed model.

    Parameters
    ----------
    model : Path, or sequence of Path
        A folder that holds exactly one model, at any depth, or a zip of one. Several are laid
        onto one another first; those of an ensemble hold one or more models each.
    options : Options
        The user's choices.

    Returns
    -------
    checkpoint : Checkpoint
        Manifest and one network, or one of each model: a `ReadyGraph` where the model has an ONNX
        file, which then is taken; otherwise a `DirectNetwork`. An axis of any size is None in the
        shapes.

    Raises
    ------
    CheckpointError
        If the model is missing, ambiguous, damaged or unsafe to load.
    UnsupportedError
        If the runtime cannot do what the model needs.
    OptionError
        If an option does not fit.
    """
    bundle_name(options, "")
    sources = (model,) if isinstance(model, Path) else tuple(model)
    if options.is_ensemble:
        return joined([one for source in sources for one in _load_all(source, options)])
    with opened_model(sources, is_wanted) as root:
        return _load_files(find_model(root, ", ".join(map(str, sources))), options)


def _load_all(source: Path, options: Options) -> list[Checkpoint]:
    with opened_model((source,), is_wanted) as root:
        return [_load_files(files, options) for files in find_models(root, str(source))]


def _load_files(files: ModelFiles, options: Options) -> Checkpoint:
    settings = read_configuration(files.settings)
    notes: list[str] = []
    try:
        manifest = _describe(settings, notes)
        batch = int(settings["training_parameters"]["batch_size"])
    except UnsupportedError as error:
        raise UnsupportedError(f"{files.name} cannot be exported: {error}.") from error
    except KeyError as error:
        raise UnsupportedError(f"{files.settings.name} lacks {error}; it is needed.") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise UnsupportedError(f"{files.settings.name} cannot be understood: {error}.") from error
    for note in notes:
        logger.warning("%s", note)
    crops = any(step["step"] == "crop_to_prior" for step in manifest["preprocessing"])
    if crops != (options.prior is not None):
        rule = "looks where another model found something; name the bundle of that one with --prior"
        if not crops:
            rule = "does not look where another model found something; leave --prior out"
        raise OptionError(f"{files.name} {rule}.")
    if options.prior is not None:
        set_prior(manifest, options.prior)
    patch: list[int | None] = manifest["sliding_window"]["patch_size"]
    shape: tuple[Any, ...] = tuple(patch if is_3d(settings) else patch[1:])
    channels, classes = len(manifest["inputs"]["channel_names"]), len(manifest["outputs"]["labels"])
    network, batch_matters = _network(files, settings, (channels, *shape), classes)
    if batch_matters:
        manifest["sliding_window"]["batch_size"] = batch
    manifest["name"] = bundle_name(options, files.name)
    manifest["version"] = options.release
    details = {"model": files.name, "notes": "; ".join(notes) or None}
    digests = {file.name: file_sha256(file) for file in files.used}
    manifest["source"] = source_record("ivadomed", options, details, digests)
    return Checkpoint(manifest, {FOLD: network}, (channels, *shape), (classes, *shape))


def _describe(settings: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return the manifest as far as the JSON tells it."""
    for name in _OTHER_NETWORKS:
        if settings.get(name, {}).get("applied"):
            raise UnsupportedError(f"the network {name}")
    transformations = read_transformations(settings, notes)
    steps = read_steps(settings, transformations)
    postprocessing = read_postprocessing(settings, notes)
    return {
        "schema": 1,
        "inputs": {
            "channel_names": read_channel_names(settings),
            "orientation": "RAS",
            "axes": read_axes(settings),
            "spacing": "reoriented",
        },
        "preprocessing": steps,
        "sliding_window": read_window(settings, transformations, steps),
        "ensemble": "mean_logits",
        "mirror_axes": [],
        "outputs": read_outputs(read_suffixes(settings), postprocessing),
        "postprocessing": postprocessing,
    }


def _network(
    files: ModelFiles,
    settings: Mapping[str, Any],
    input_shape: tuple[int | None, ...],
    classes: int,
) -> tuple[Any, bool]:
    """Return the network, and whether what it gives for an image depends on the rest of a batch."""
    if files.onnx is not None:
        graph = read_graph(files.onnx, input_shape, classes)
        return graph, not graph.has_free_batch
    assert files.pickle is not None
    channels, *patch = input_shape
    assert channels is not None
    return rebuild(files.pickle, channels, len(patch), classes)
