"""Bundles of the form of MONAI's model zoo: configurations, metadata and weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.families.checkpoint import Checkpoint
from deepseg_export.families.monai.config import read_config, resolve
from deepseg_export.families.monai.inferers import read_inferer
from deepseg_export.families.monai.networks import build_network, check_network, output_channels
from deepseg_export.families.monai.options import Options
from deepseg_export.families.monai.postprocessing import read_outputs, read_postprocessing
from deepseg_export.families.monai.transforms import GEOMETRIC, read_preprocessing, undone_by
from deepseg_export.families.monai.weights import read_weights
from deepseg_export.families.options import bundle_name, source_record
from deepseg_export.families.problems import Problems, collected
from deepseg_export.network.conversion import example_shapes
from deepseg_export.reading.archive import opened_model
from deepseg_export.reading.checkpoint import file_sha256
from deepseg_export.reading.weights import load_into

logger = logging.getLogger(__name__)

CONFIG, METADATA = "inference", "metadata"
WEIGHTS = ("model.pt", "model.ts")
_WANTED = tuple(f"{name}{end}" for name in (CONFIG, METADATA) for end in (".json", ".yaml", ".yml"))


def load_bundle(path: Path, options: Options) -> Checkpoint:
    """Read a MONAI bundle.

    Parameters
    ----------
    path : Path
        The bundle's folder, a folder above exactly one, or a zip of either.
    options : Options
        The user's choices.

    Returns
    -------
    checkpoint : Checkpoint
        Manifest and network.

    Raises
    ------
    CheckpointError
        If the bundle is missing, ambiguous, damaged or unsafe to load.
    UnsupportedError
        Listing everything the runtime cannot do.
    MissingPackageError
        If MONAI, or what the network needs of it, is not installed.

    Notes
    -----
    Source: MONAI 1.6.1, ``bundle``, and the model zoo's form. Of the configuration only the
    network is built, out of plain values; the rest is read as data.
    """
    with opened_model((path,), is_wanted) as root:
        folder = find_bundle(root, path)
        is_named = folder != root or path.is_dir()
        return _load(folder, folder.resolve().name if is_named else path.stem, options)


def find_bundle(root: Path, given: Path) -> Path:
    """Return the one bundle that a folder is or holds.

    Raises
    ------
    CheckpointError
        If there is none, or more than one.
    """
    found = sorted(
        {
            file.parent.parent
            for end in (".json", ".yaml", ".yml")
            for file in root.rglob(f"configs/{CONFIG}{end}")
        }
    )
    if len(found) != 1:
        raise CheckpointError(
            f"{given} holds {len(found)} MONAI bundles; one folder with "
            f"configs/{CONFIG}.json and models/{WEIGHTS[0]} is needed."
        )
    return found[0]


def is_wanted(member: PurePosixPath) -> bool:
    """Tell whether a file of an archive is one the export reads."""
    place, name = member.parent.name, member.name
    if "__MACOSX" in member.parts:
        return False
    return (place == "configs" and name in _WANTED) or (place == "models" and name in WEIGHTS)


def _load(folder: Path, name: str, options: Options) -> Checkpoint:
    config_file, config = read_config(folder, CONFIG)
    metadata_file, metadata = read_config(folder, METADATA)
    places = [folder / "models" / file for file in WEIGHTS]
    weights_file = next((place for place in places if place.is_file()), None)
    if weights_file is None:
        raise CheckpointError(f"{name} has neither models/{' nor models/'.join(WEIGHTS)}.")
    problems: Problems = []
    manifest, definition, found = _describe(config, problems)
    if problems or definition is None:
        raise UnsupportedError(f"{name} cannot be exported: {'; '.join(problems)}.")

    weights = read_weights(weights_file)
    network = build_network(definition, weights)
    network = load_into(network, weights, f"{name}, {weights_file.name}")
    formats = metadata.get("network_data_format")
    formats = formats if isinstance(formats, Mapping) else {}
    channel_names = _names(formats, "inputs", "image", _input_channels(definition), "channel")
    patch = manifest["sliding_window"]["patch_size"]
    shape = (len(channel_names), *patch)
    channels = output_channels(network, example_shapes(shape)[0])
    labels = _names(formats, "outputs", "pred", channels, "label")
    manifest |= {
        "name": bundle_name(options, name),
        "version": options.release,
        "outputs": read_outputs(found, channels, labels),
        "source": source_record(
            "monai",
            options,
            {
                "bundle": name,
                "bundle_version": _text(metadata.get("version")),
                "monai": _text(metadata.get("monai_version")),
                "network": type(network).__name__,
                "copyright": _text(metadata.get("copyright")),
            },
            {
                file.relative_to(folder).as_posix(): file_sha256(file)
                for file in (config_file, metadata_file, weights_file)
            },
        ),
    }
    manifest["inputs"]["channel_names"] = channel_names
    return Checkpoint(manifest, {"0": network}, shape, (channels, *patch))


def _describe(config: Mapping[str, Any], problems: Problems) -> tuple[dict[str, Any], Any, Any]:
    """Return what the configuration says of the manifest, the network and the post-transforms."""
    parts = {}
    for part in ("preprocessing", "inferer", "postprocessing"):
        parts[part] = resolve(config, config.get(part))
    network = resolve(config, config.get("network_def", config.get("network")))

    definition = window = None
    with collected(problems, "network"):
        definition = check_network(network)
    before = read_preprocessing(parts["preprocessing"], problems)
    with collected(problems, "inferer"):
        window = read_inferer(parts["inferer"])
    after = read_postprocessing(
        parts["postprocessing"], parts["preprocessing"], before.image_key, problems
    )
    moved = before.orientation or any(step["step"] in GEOMETRIC for step in before.steps)
    if moved and after.nearest is None:
        problems.append("postprocessing: without Invertd the result is not on the image's grid")
    steps = before.steps
    with collected(problems, "postprocessing, Invertd"):
        steps = undone_by(steps, nearest=bool(after.nearest))
    manifest = {
        "schema": 1,
        "inputs": {"channel_names": [], "orientation": before.orientation, "axes": "xyz"},
        "preprocessing": steps,
        "sliding_window": window,
        "ensemble": "mean_logits",
        "mirror_axes": [],
        "postprocessing": after.after_undo,
    }
    return manifest, definition, after


def _input_channels(definition: Mapping[str, Any]) -> int:
    count = definition.get("in_channels", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UnsupportedError(f"in_channels of the network is {count!r}; a number is needed.")
    return count


def _names(
    formats: Mapping[str, Any], side: str, key: str, count: int, otherwise: str
) -> list[str]:
    """Return what the metadata call each channel, made-up names where they do not."""
    described: Any = formats.get(side)
    for part in (key, "channel_def"):
        described = described.get(part) if isinstance(described, Mapping) else None
    names: Sequence[str] = []
    if isinstance(described, Mapping):
        names = [str(described.get(str(i), "")).strip() for i in range(count)]
    if len(set(names)) == count and all(names):
        return list(names)
    return [f"{otherwise}{i}" for i in range(count)]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
