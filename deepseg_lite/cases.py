"""Cases: files in, files out, and the record of what was done."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from deepseg_lite import nifti
from deepseg_lite.api import Segmenter
from deepseg_lite.errors import OptionError, OutputError
from deepseg_lite.pipeline import Cancel, Progress, Settings
from deepseg_lite.volume import FloatArray, LabelArray

DEFAULT_SUFFIX = "seg"
SOFT_SUFFIX = "softseg"


@dataclass(frozen=True)
class Case:
    """The images of one case, one per channel, and the files its results go to.

    ``outputs`` maps a label's name to its probability map for soft runs; otherwise it has the one
    label map under the empty name.
    """

    images: tuple[Path, ...]
    outputs: Mapping[str, Path]

    @property
    def sidecar(self) -> Path:
        """Return where the record of the run goes: beside the first output."""
        first = next(iter(self.outputs.values()))
        return first.with_name(f"{nifti.stem(first)}.json")

    @property
    def files(self) -> tuple[Path, ...]:
        """Return everything the case writes."""
        return (*self.outputs.values(), self.sidecar)


def plan_cases(
    segmenter: Segmenter,
    images: Sequence[Sequence[Path]],
    output: Path | None,
    *,
    soft: bool = False,
    overwrite: bool = False,
) -> list[Case]:
    """Decide what every case writes, before any work starts.

    Parameters
    ----------
    segmenter : Segmenter
        The model; names the labels and the suffix.
    images : sequence of sequences of paths
        Images of each case, one per channel.
    output : path or None
        A ``.nii`` or ``.nii.gz`` file (one case, one output), else a folder, made when missing.
        None writes beside each case's first image.
    soft : bool
        Whether probability maps are written, one per label, instead of a label map.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    ImageError
        If a case has the wrong number of images.
    OptionError
        If outputs would collide, replace an input or an existing file, or do not fit one file.
    OutputError
        If the output folder cannot be made or written to.
    """
    for case_images in images:
        segmenter.check_channel_count(len(case_images))
    labels = [label.name for label in segmenter.bundle.outputs.labels]
    suffix = segmenter.task.suffix if segmenter.task else DEFAULT_SUFFIX
    suffixes = {name: f"{name}_{SOFT_SUFFIX}" for name in labels} if soft else {"": suffix}
    is_file = output is not None and nifti.is_nifti_name(output)
    count = len(images) * len(suffixes)
    if is_file and count > 1:
        raise OptionError(f"{output} is one file, but {count} will be written; give a folder.")
    cases = []
    for case_images in images:
        first = Path(case_images[0])
        folder = output if output is not None and not is_file else first.parent
        outputs = {
            name: output
            if is_file and output is not None
            else folder / f"{nifti.stem(first)}_{text.replace('/', '-')}.nii.gz"
            for name, text in suffixes.items()
        }
        cases.append(Case(tuple(Path(image) for image in case_images), outputs))
    _check_outputs(cases, overwrite=overwrite)
    for folder in {file.parent for case in cases for file in case.files}:
        _check_folder(folder)
    return cases


def _check_outputs(cases: Sequence[Case], *, overwrite: bool) -> None:
    written = Counter(file.resolve() for case in cases for file in case.files)
    for file, count in written.items():
        if count > 1:
            raise OptionError(
                f"{count} cases would be written to {file}; give images with different names, or "
                "run them with different output folders."
            )
    inputs = {image.resolve() for case in cases for image in case.images}
    for file in written:
        if file in inputs:
            raise OptionError(f"{file} is an input and would be replaced; give another output.")
    existing = [file for case in cases for file in case.files if os.path.exists(file)]
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise OptionError(f"{existing[0]}{more} exists; add --overwrite or give another output.")


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to, or made; it is made when there is a result."""
    nearest = folder.absolute()
    while not os.path.exists(nearest):  # unlike Path.exists, never raises
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        reason = "not writable" if nearest.is_dir() else "not a folder"
        raise OutputError(
            f"{folder} cannot take results: {nearest} is {reason}; give an output folder you may "
            "write to."
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror}); give an output folder you may write to."
        ) from error


def run_case(
    segmenter: Segmenter,
    case: Case,
    settings: Settings | None = None,
    *,
    command: Sequence[str] = (),
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Segment one case from files to files.

    Returns
    -------
    report : dict
        What the sidecar holds, plus ``images``, ``outputs`` and ``sidecar`` paths.

    Raises
    ------
    DeepsegError
        Whatever is wrong; nothing is written then.
    """
    settings = settings or Settings()
    started = perf_counter()
    opened = [nifti.load_image(path) for path in case.images]
    volume = nifti.read_volume(opened, [str(path) for path in case.images])
    loaded = perf_counter()
    result = segmenter.segment(volume, settings, progress=progress, cancel=cancel)
    segmented = perf_counter()
    maps = result.data if settings.soft else [result.data]
    contents = {
        path: nifti.image_bytes(nifti.make_image(data, like=opened[0]), path)
        for path, data in zip(case.outputs.values(), maps, strict=True)
    }
    timings = {
        "load": round(loaded - started, 4),
        **{stage: time for stage, time in result.timings.items() if stage != "segment"},
        "write": round(perf_counter() - segmented, 4),
    }
    record = {
        "GeneratedBy": [
            {
                "Name": "deepseg-lite",
                "Version": version("deepseg-lite"),
                "Command": " ".join(["deepseg-lite", *command]),
            }
        ],
        "Sources": [path.name for path in case.images],
        "Bundle": describe_bundle(segmenter),
        "Device": {
            "provider": segmenter.provider,
            "threads": segmenter.threads,
            **{
                name: _version(name)
                for name in ("onnxruntime", "onnxruntime-gpu")
                if _version(name)
            },
            "numpy": np.__version__,
        },
        "Settings": asdict(settings),
        "Labels": {label.name: list(label.values) for label in segmenter.bundle.outputs.labels},
        "Volumes_mm3": _volumes(result.data, segmenter, settings, volume.spacing),
        "Seconds": timings,
        "SHA256": {path.name: hashlib.sha256(data).hexdigest() for path, data in contents.items()},
    }
    contents[case.sidecar] = (json.dumps(record, indent=2) + "\n").encode()
    _make_folder(case.sidecar.parent)
    nifti.write_files(contents)
    return {
        "images": [str(path) for path in case.images],
        "outputs": [str(path) for path in case.outputs.values()],
        "sidecar": str(case.sidecar),
        **record,
    }


def describe_bundle(segmenter: Segmenter) -> dict[str, Any]:
    """Return what identifies the model of a run."""
    bundle = segmenter.bundle
    return {
        "name": bundle.name,
        "version": bundle.version,
        "task": segmenter.task.name if segmenter.task else None,
        "networks": {network.fold: network.sha256 for network in segmenter.networks},
    }


def _volumes(
    data: LabelArray | FloatArray,
    segmenter: Segmenter,
    settings: Settings,
    spacing: Sequence[float],
) -> dict[str, float]:
    """Return the volume of each label in mm3; of probabilities, their sum."""
    voxel = float(np.prod(spacing))
    labels = segmenter.bundle.outputs.labels
    if settings.soft:
        sums = [float(map_.sum(dtype=np.float64)) for map_ in data]
    else:
        counts = np.bincount(data.ravel(), minlength=segmenter.bundle.outputs.max_value + 1)
        sums = [float(counts[list(label.values)].sum()) for label in labels]
    return {label.name: round(n * voxel, 2) for label, n in zip(labels, sums, strict=True)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_phantom(
    image: Path, seed: int, labels: Path | None = None, *, overwrite: bool = False
) -> list[Path]:
    """Write a synthetic T2*-weighted volume, and its true labels where asked.

    Raises
    ------
    OptionError
        If a name is not that of a NIfTI file, or a file exists.
    OutputError
        If a file cannot be written.
    """
    from deepseg_lite.phantom import make_phantom

    paths = [image] if labels is None else [image, labels]
    for path in paths:
        if not nifti.is_nifti_name(path):
            raise OptionError(f"{path} must end in .nii or .nii.gz.")
        if os.path.exists(path) and not overwrite:
            raise OptionError(f"{path} exists; add --overwrite or give another name.")
    if len({path.resolve() for path in paths}) < len(paths):
        raise OptionError(f"{image} cannot be both the image and its labels; give another name.")
    for path in paths:
        _make_folder(path.parent)
    made = make_phantom(seed)
    images = zip(paths, (made.image, made.labels), strict=False)
    nifti.write_files(
        {path: nifti.image_bytes(nifti.new_image(data, made.affine), path) for path, data in images}
    )
    return paths
