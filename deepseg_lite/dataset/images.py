"""Images as jobs open them: read once where the next job has them, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nibabel.spatialimages import SpatialImage

from deepseg_lite.dataset.job import Job
from deepseg_lite.dataset.keys import Hashes
from deepseg_lite.nifti.reading import hold_voxels, load_image
from deepseg_lite.notice import Notice, Warn


class Images:
    """Images as jobs open them: those that the next job has, too, are read once."""

    def __init__(self) -> None:
        self.hashes = Hashes()
        self._kept: dict[Path, tuple[SpatialImage, list[Notice]]] = {}

    def opener(self, job: Job) -> Callable[[Path, Warn], SpatialImage]:
        """Return what opens the images of a job; called for one job after another."""

        def open_image(path: Path, warn: Warn) -> SpatialImage:
            self._kept = {kept: self._kept[kept] for kept in self._kept if str(kept) in job.images}
            if job.keeps_images and path not in self._kept:
                self._kept[path] = _read(path)
            found = self._kept.get(path) if job.keeps_images else self._kept.pop(path, None)
            if found is None:
                return load_image(path, warn)
            image, notices = found
            for notice in notices:
                warn(notice)
            return image

        return open_image


def _read(path: Path) -> tuple[SpatialImage, list[Notice]]:
    """Return an image whose voxels are in memory, and what was doubtful about it."""
    notices: list[Notice] = []
    image = load_image(path, notices.append)
    hold_voxels(image, str(path), notices.append)
    return image, notices
