"""nnU-Net v2: trained-model folders and zips of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families import options as shared
from deepseg_export.families.checkpoint import Checkpoint
from deepseg_export.families.nnunet import torch_network
from deepseg_export.families.nnunet.crop import CROP, find_crop, read_crop
from deepseg_export.families.nnunet.fingerprint import FINGERPRINT, read_training_spacing
from deepseg_export.families.nnunet.folder import (
    USUAL,
    find_model_folder,
    is_wanted,
    select_checkpoints,
)
from deepseg_export.families.nnunet.labels import read_outputs
from deepseg_export.families.nnunet.network import (
    Architecture,
    check_direct,
    direct_network,
    read_architecture,
)
from deepseg_export.families.nnunet.plans import (
    ORIENTATION_KEY,
    is_orientation,
    read_axes,
    read_channel_names,
    read_orientation,
    resolve_configuration,
    unsupported_parts,
)
from deepseg_export.families.nnunet.preprocessing import read_normalization, read_resampling
from deepseg_export.families.nnunet.trained import Trained, disagreements, read_trained
from deepseg_export.families.options import bundle_name, set_prior, source_record
from deepseg_export.families.problems import Problems, collected
from deepseg_export.reading.archive import opened_model
from deepseg_export.reading.checkpoint import file_sha256
from deepseg_export.reading.documents import read_json
from deepseg_export.reading.limits import check_patch
from deepseg_lite.errors import OptionError

logger = logging.getLogger(__name__)

_CROP_VERSION = "sc_crop_version"
MAX_MARGIN = 1000


@dataclass(frozen=True, kw_only=True)
class Options(shared.Options):
    """Choices of the user about an nnU-Net model; None leaves one to the model.

    Attributes
    ----------
    folds : sequence of str or None
        Folds to export.
    checkpoint : str or None
        File of each fold.
    orientation : str or None
        Axis codes of the training images, or ``"file"``.
    checkpoints : sequence of str
        Usual names of a fold's file, the preferred first.
    prior : str or None
        Bundle of a model that runs first; the image is cropped around what it finds.
    prior_margin : float or None
        How far around, in mm.
    """

    folds: Sequence[str] | None = None
    checkpoint: str | None = None
    orientation: str | None = None
    checkpoints: Sequence[str] = USUAL
    prior: str | None = None
    prior_margin: float | None = None


def load(model: Path | Sequence[Path], options: Options) -> Checkpoint:
    """Read a trained nnU-Net v2 model.

    Parameters
    ----------
    model : Path, or sequence of Path
        A trained-model folder, a folder above exactly one, or a zip of either. Several are laid
        onto one another first.
    options : Options
        The user's choices.

    Returns
    -------
    checkpoint : Checkpoint
        Manifest and one network per fold.

    Raises
    ------
    CheckpointError
        If the model is missing, ambiguous, damaged or unsafe to load.
    UnsupportedError
        Listing everything the runtime cannot do.
    OptionError
        If an option does not fit.
    """
    _check_options(options)
    sources = (model,) if isinstance(model, Path) else tuple(model)
    wanted = partial(is_wanted, checkpoint=options.checkpoint, usual=options.checkpoints)
    with opened_model(sources, wanted) as root:
        folder = find_model_folder(root, ", ".join(map(str, sources)))
        is_named = folder != root or root in sources
        name = folder.resolve().name if is_named else sources[0].stem
        return _load_folder(folder, name, find_crop(folder, root), options)


def _check_options(options: Options) -> None:
    bundle_name(options, "")
    orientation = options.orientation
    if orientation not in (None, "file") and not is_orientation(str(orientation).upper()):
        raise OptionError(
            f"--orientation {orientation!r} is not three axis codes such as RAS, nor file."
        )
    if (options.prior is None) != (options.prior_margin is None):
        raise OptionError("--prior and --prior-margin belong together; give both, or neither.")
    if options.prior_margin is not None and not 0 <= options.prior_margin <= MAX_MARGIN:
        raise OptionError(
            f"--prior-margin {options.prior_margin:g} is not a length from 0 to {MAX_MARGIN} mm."
        )


def _load_folder(
    folder: Path, folder_name: str, crop_file: Path | None, options: Options
) -> Checkpoint:
    plans, dataset = read_json(folder / "plans.json"), read_json(folder / "dataset.json")
    files = select_checkpoints(folder, options.folds, options.checkpoint, options.checkpoints)
    trained = {}
    for fold, file in files.items():
        logger.info("Reading fold %s", fold)
        trained[fold] = read_trained(file, folder_name)

    problems = disagreements(trained)
    crop = None if crop_file is None else read_json(crop_file)
    first = next(iter(trained.values()))
    manifest, architecture = _describe(plans, dataset, first, options, problems)
    if problems or architecture is None:
        raise UnsupportedError(f"{folder_name} cannot be exported: {'; '.join(problems)}.")

    manifest["name"] = bundle_name(options, str(plans.get("dataset_name") or folder_name))
    if crop is not None:
        manifest["cord_crop"] = read_crop(crop)
    if options.prior is not None:
        _look_around(manifest, options.prior, options.prior_margin)
    training_spacing = read_training_spacing(folder, plans)
    if training_spacing is not None:
        manifest["inputs"]["training_spacing"] = training_spacing
    sources = {
        file.relative_to(folder).as_posix(): file
        for file in (folder / "plans.json", folder / "dataset.json", *files.values())
    } | ({CROP: crop_file} if crop_file else {})
    if training_spacing is not None:
        sources[FINGERPRINT] = folder / FINGERPRINT
    details = {
        "folder": folder_name,
        "dataset": plans.get("dataset_name"),
        "plans": plans.get("plans_name"),
        "trainer": first.trainer,
        "configuration": first.configuration,
        "checkpoint": ", ".join(dict.fromkeys(file.name for file in files.values())),
        ORIENTATION_KEY: _text(dataset.get(ORIENTATION_KEY)),
        **({} if crop is None else {_CROP_VERSION: _text(crop.get(_CROP_VERSION))}),
    }
    digests = {name: file_sha256(file) for name, file in sources.items()}
    manifest["source"] = source_record("nnunet", options, details, digests)
    channels = len(manifest["inputs"]["channel_names"])
    outputs = manifest["outputs"]
    heads = len(outputs["labels"]) + (outputs["activation"] == "softmax")
    patch = tuple(map(int, resolve_configuration(plans, first.configuration)["patch_size"]))
    networks = {}
    for fold, one in trained.items():
        where = f"Fold {fold} of {folder_name}, trained by {one.trainer}"
        build = partial(
            torch_network.build_network, architecture, channels, heads, one.weights, where
        )
        if options.with_torch:
            networks[fold] = build()
            continue
        direct = direct_network(architecture, channels, heads, one.weights, where)
        networks[fold] = replace(direct, original=build) if options.check_torch else direct
    return Checkpoint(manifest, networks, (channels, *patch), (heads, *patch))


def _look_around(manifest: dict[str, Any], bundle: str, margin: float | None) -> None:
    """Let a model look around what another one finds; along axes without extent, everywhere."""
    patch = manifest["sliding_window"]["patch_size"]
    margins = [None if length == 1 else margin for length in patch]
    manifest["preprocessing"].insert(0, {"step": "crop_around_prior", "margin_mm": margins})
    set_prior(manifest, bundle)


def _describe(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    trained: Trained,
    options: Options,
    problems: Problems,
) -> tuple[dict[str, Any], Architecture | None]:
    """Return what can be read of the manifest, and the network; add the rest to ``problems``."""
    configuration: dict[str, Any] = {}
    with collected(problems, "configuration"):
        configuration = resolve_configuration(plans, trained.configuration)
    if not configuration:
        return {}, None
    problems += unsupported_parts(plans, configuration, trained.configuration)

    channel_names: list[str] = []
    with collected(problems, "dataset.json"):
        channel_names = read_channel_names(dataset)
    axes = outputs = normalize = resample = architecture = orientation = None
    if options.orientation is None:
        with collected(problems, "dataset.json"):
            orientation = read_orientation(dataset, plans)
    elif options.orientation != "file":
        orientation = options.orientation.upper()
    with collected(problems, "plans.json"):
        axes = read_axes(plans)
    with collected(problems, "labels"):
        outputs = read_outputs(dataset)
    with collected(problems, "normalization"):
        normalize = read_normalization(plans, configuration, len(channel_names))
    with collected(problems, "resampling"):
        resample = read_resampling(configuration)
    with collected(problems, "network"):
        architecture = read_architecture(configuration)
        if not options.with_torch:
            check_direct(architecture)
        if options.with_torch or options.check_torch:
            torch_network.check_classes(architecture)
    patch_size: list[int] = []
    with collected(problems, "patch size"):
        patch_size = _three_axes(configuration["patch_size"])
    mirror_axes: list[int] = []
    with collected(problems, "mirroring"):
        mirror_axes = _mirror_axes(trained.mirror_axes, configuration["patch_size"])
    manifest: dict[str, Any] = {
        "schema": 1,
        "name": "",
        "version": options.release,
        "inputs": {"channel_names": channel_names, "orientation": orientation, "axes": axes},
        "preprocessing": [
            {"step": "crop_to_nonzero"},
            normalize,
            *([] if resample is None else [resample]),
        ],
        "sliding_window": {
            "patch_size": patch_size,
            "overlap": 0.5,
            "placement": "spread",
            "importance_map": "gaussian_filter",
        },
        "ensemble": "mean_logits",
        "mirror_axes": mirror_axes,
        "outputs": outputs,
        "postprocessing": [],
    }
    return manifest, architecture


def _three_axes(patch_size: Sequence[int]) -> list[int]:
    if len(patch_size) not in (2, 3):
        raise UnsupportedError(f"{list(patch_size)} has neither 2 nor 3 axes")
    sizes = [1] * (3 - len(patch_size)) + [int(size) for size in patch_size]
    if min(sizes) < 1:
        raise UnsupportedError(f"{sizes} are no sizes")
    check_patch(sizes)
    return sizes


def _mirror_axes(axes: Sequence[int], patch_size: Sequence[int]) -> list[int]:
    """Return mirroring axes of the patch; the slice axis of a 2-D network comes first."""
    if not set(axes) <= set(range(len(patch_size))):
        raise UnsupportedError(f"axes {list(axes)} of a network with {len(patch_size)}")
    # A flip of one voxel changes nothing, so leaving it out gives the same average.
    return [axis + 3 - len(patch_size) for axis in axes if patch_size[axis] > 1]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
