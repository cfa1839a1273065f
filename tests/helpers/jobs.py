"""Jobs on images that are made for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepseg_lite.dataset.job import Job
from helpers.bundles import make_affine, make_data, write_image


def make_images(folder: Path, names: Iterable[str]) -> list[Path]:
    """Write small images of different voxels in a new folder."""
    folder.mkdir()
    affine = make_affine("LPS")
    return [
        write_image(folder / f"{name}.nii.gz", make_data(seed=seed), affine)
        for seed, name in enumerate(names)
    ]


def make_job(bundle: Path, image: Path, **given: Any) -> Job:
    """Return the job of a bundle with one file; its results go to a folder beside the image's."""
    name = f"{image.name.partition('.')[0]}_{bundle.name}"
    output = image.parents[1] / "out" / f"{name}.nii.gz"
    given = {"load": {"device": "cpu", "threads": 1}, "fields": {"Key": name}, **given}
    return Job(name, str(bundle), (str(image),), (str(output),), **given)
