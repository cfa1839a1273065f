"""Reading of images: files opened by their headers, voxels in bounded memory, cases checked."""

from __future__ import annotations

import stat
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from nibabel.volumeutils import apply_read_scaling

from deepseg_lite.errors import ImageError, reason
from deepseg_lite.nifti.checks import check_affine, check_array, check_series, check_shape
from deepseg_lite.nifti.contents import what_a_folder_is, what_is_missing
from deepseg_lite.nifti.geometry import Geometry, check_same_grid, read_geometry
from deepseg_lite.nifti.header import Header, read_header
from deepseg_lite.nifti.names import is_compressed_name, pair
from deepseg_lite.nifti.streams import Stream
from deepseg_lite.notice import Notice, Warn, log
from deepseg_lite.volume import AnyArray, Volume

UNREADABLE = (OSError, EOFError, zlib.error)
MAX_REST = 1 << 20
"""Bytes after the voxels that a compressed file may hold."""


class Voxels:
    """Voxels of a file that are read when they are asked for, as nibabel wants such a thing."""

    is_proxy = True

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header
        self.shape, self.dtype, self.ndim = header.shape, header.dtype, len(header.shape)
        self.slope, self.inter = header.slope, header.inter
        self.held: AnyArray | None = None  # all voxels, where they stay in memory

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        """Return all voxels, scaled."""
        return np.asarray(self.read(str(self.path)), dtype)

    def __getitem__(self, slicer: Any) -> AnyArray:
        """Return some voxels, scaled; all are read."""
        found: AnyArray = np.asanyarray(self)[slicer]
        return found

    def read(self, name: str, warn: Warn = log) -> AnyArray:
        """Return all voxels, scaled.

        Raises
        ------
        ImageError
            If the file is truncated, damaged, or does not fit its header.
        """
        if self.held is not None:
            return self.held
        header = self.header
        size = int(np.prod(header.shape, dtype=np.int64)) * header.dtype.itemsize
        try:
            with Stream(self.path) as stream:
                if stream.capacity is not None and stream.capacity < header.offset + size:
                    raise _truncated(name, stream.capacity, header.offset + size)
                buffer = np.empty(size, np.uint8)
                stream.skip(header.offset)
                found = stream.fill(buffer.data)
                if found < size:
                    raise _truncated(name, found, size)
                _check_end(stream, header.offset + size, name, warn)
        except MemoryError as error:
            raise ImageError(
                f"{name} needs {size / 1e9:.1f} GB for its {header.shape} voxels, more than there "
                "is; crop or resample it, or use a larger machine."
            ) from error
        except UNREADABLE as error:
            raise _unreadable(name, error) from error
        array = buffer.view(header.dtype).reshape(header.shape, order="F")
        if header.slope == 1 and header.inter == 0:
            return array
        slope, inter = np.float64(header.slope), np.float64(header.inter)
        scaled: AnyArray = apply_read_scaling(array, slope, inter)
        return scaled


def _unreadable(name: str, error: Exception) -> ImageError:
    if isinstance(error, PermissionError):
        return ImageError(
            f"{name} may not be read (permission denied); ask its owner, or use chmod +r."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return ImageError(
            f"{name} cannot be opened or read ({reason(error)}); check the path, and the disk."
        )
    return ImageError(f"{name} is truncated or damaged ({reason(error)}); get the file again.")


def _truncated(name: str, found: int, needed: int) -> ImageError:
    return ImageError(
        f"{name} is truncated: it holds {found} of the {needed} bytes that its header tells of; "
        "get the file again."
    )


def _check_end(stream: Stream, end: int, name: str, warn: Warn) -> None:
    """Compare a compressed file's checksum, which stands at its end, and what is left there."""
    rest = stream.size - end if stream.compression is None else stream.skip(MAX_REST + 1)
    if stream.compression and rest > MAX_REST:
        raise ImageError(
            f"{name} holds far more than the voxels that its header tells of; the header may be "
            "wrong. Get the file again."
        )
    if rest or stream.junk:
        text = (
            f"{rest + stream.junk} bytes after the voxels were not read; the file may be damaged."
        )
        warn(Notice("bytes-left", text, name, {"bytes": rest + stream.junk}))


def load_image(path: Path | str, warn: Warn = log) -> SpatialImage:
    """Open a NIfTI file, or pair of files; voxels are read later.

    Raises
    ------
    ImageError
        If the file is missing, unreadable or not NIfTI: what it is, and which tool helps.
    """
    path = Path(path)
    header_path, voxels_path = pair(path) or (path, path)
    for file in dict.fromkeys((path, header_path, voxels_path)):
        _check_file(file)
    single = header_path == voxels_path
    try:
        with Stream(header_path) as stream:
            header = read_header(stream, str(path), single=single)
            compression = stream.compression
    except UNREADABLE as error:
        raise _unreadable(str(path), error) from error
    for notice in header.notices:
        warn(notice)
    if (compression is not None) != (is_compressed_name(path) or compression == "bzip2"):
        found = compression or "not compressed"
        text = f"the file is {found}, unlike what its name says; it was read as what it is."
        warn(Notice("name", text, str(path)))
    kind = nib.Nifti2Image if isinstance(header.clean, nib.Nifti2Header) else nib.Nifti1Image
    affine = header.clean.get_best_affine()
    check_affine(affine, str(path))
    image = kind(Voxels(voxels_path, header), affine, header.clean)
    image.file_map["image"].filename = str(path)
    return image


def hold_voxels(image: SpatialImage, name: str, warn: Warn = log) -> None:
    """Read the voxels of an image of `load_image` now; they stay in memory, not to be changed.

    Raises
    ------
    ImageError
        As `Voxels.read`.
    """
    held = image.dataobj.read(name, warn)
    held.flags.writeable = False
    image.dataobj.held = held


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ImageError(f"{path} {what_is_missing(path)}.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(str(path), error) from error
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(f"{path} {what_a_folder_is(path)}.")
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{path} is no regular file; give a NIfTI image on a disk.")
    if found.st_size == 0:
        raise ImageError(f"{path} is an empty file; get the image again.")


def read_volume(images: Sequence[SpatialImage], names: Sequence[str]) -> Volume:
    """Read the channels of one case; see `read_case`."""
    return read_case(images, names)[0]


def read_case(
    images: Sequence[SpatialImage], names: Sequence[str], warn: Warn = log
) -> tuple[Volume, AnyArray]:
    """Read the channels of one case.

    Parameters
    ----------
    images : sequence of nibabel images
        One per channel, all on the same grid.
    names : sequence of str
        What to call each image in an error.
    warn : callable
        Told of what is doubtful.

    Returns
    -------
    volume : Volume
        Data of shape (C, X, Y, Z), float32.
    stored : array of shape (X, Y, Z)
        The first channel in the type it is stored in.

    Raises
    ------
    ImageError
        If an image is not 3-D, empty, all zero, not finite, not of real numbers, truncated, has no
        usable affine, or lies on another grid than the first.
    """
    stored = [read_voxels(image, name, warn) for image, name in zip(images, names, strict=True)]
    channels = [check_array(array, name, warn) for array, name in zip(stored, names, strict=True)]
    grid = read_grid(images, names, warn)
    return Volume(np.stack(channels), grid.affine, grid.spacing), stored[0].reshape(grid.shape)


def read_grid(images: Sequence[SpatialImage], names: Sequence[str], warn: Warn = log) -> Volume:
    """Return the one grid of several images from their headers alone.

    Parameters
    ----------
    images, names, warn
        See `read_case`.

    Returns
    -------
    grid : Volume
        Data of shape (0, X, Y, Z): no channels.

    Raises
    ------
    ImageError
        If an image is not 3-D, has no usable affine, or lies on another grid than the first.
    """
    found: list[Geometry] = []
    shape = images[0].shape[:3]
    for image, name in zip(images, names, strict=True):
        check_shape(image.shape, name)
        found.append(read_geometry(image, name))
        check_same_grid(found[-1], image.shape[:3], name, found[0], shape, names[0])
    for notice in (notice for geometry in found for notice in geometry.notices):
        warn(notice)
    return Volume(np.empty((0, *shape), np.float32), found[0].affine, found[0].spacing)


def read_series(image: SpatialImage, name: str, warn: Warn = log) -> tuple[AnyArray, Geometry]:
    """Read one image that may be a time series.

    Returns
    -------
    stored : array of shape (X, Y, Z) or (X, Y, Z, T)
        In the type it is stored in.
    geometry : Geometry
        Of its voxels.

    Raises
    ------
    ImageError
        As `read_case`, for an image that is neither 3-D nor 4-D.
    """
    geometry = read_geometry(image, name)
    for notice in geometry.notices:
        warn(notice)
    return check_series(read_voxels(image, name, warn, series=True), name, warn), geometry


def read_voxels(
    image: SpatialImage, name: str, warn: Warn = log, *, series: bool = False
) -> AnyArray:
    """Return the voxels of an image, in the type it is stored in; of its file, if it has one."""
    if not (series and len(image.shape) == 4):
        check_shape(image.shape, name)  # before megabytes are read
    voxels = image.dataobj
    if not isinstance(voxels, Voxels) and isinstance(image, nib.Nifti1Pair):
        file = getattr(voxels, "file_like", None)  # nibabel's own does not compare checksums
        if isinstance(file, str) and is_compressed_name(file):
            voxels = load_image(file, lambda _: None).dataobj
    if isinstance(voxels, Voxels):
        return voxels.read(name, warn)
    try:
        return np.asanyarray(voxels)
    except (*UNREADABLE, ValueError) as error:
        raise _unreadable(name, error) from error
