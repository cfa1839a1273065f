"""Headers of NIfTI files: checked field by field, and reduced to what a result may keep.

Nothing of a header is taken at its word but what stands in `KEPT`: no text, no extension, and so
no name of a person, gets from an image into a result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from deepseg_lite.errors import ImageError
from deepseg_lite.nifti.contents import what_it_is
from deepseg_lite.nifti.streams import Stream
from deepseg_lite.notice import Notice
from deepseg_lite.volume import Affine, AnyArray

KEPT = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
"""Fields that say where voxels are, beside the voxel sizes: all that results have of an image."""
MAX_EXTENSION = 64 << 20
"""Bytes between a header and its voxels."""
_KINDS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_MAGIC = {348: (b"n+1", b"ni1"), 540: (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")}
_CODES = range(6)


@dataclass(frozen=True, eq=False)
class Header:
    """Header as it is used.

    Attributes
    ----------
    clean : nibabel header
        What stays of it, repaired; a new one otherwise.
    shape : tuple of int
        Of the voxels: three axes, or more if the later ones are longer than 1.
    dtype : numpy dtype
        Of the voxels in the file.
    offset : int
        Bytes before the voxels.
    slope, inter : float
        Scaling of the voxels; 1 and 0 for none.
    notices : tuple of Notice
        What was repaired or assumed.
    """

    clean: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    notices: tuple[Notice, ...]


def read_header(stream: Stream, name: str, *, single: bool) -> Header:
    """Read the header that a stream begins with.

    Parameters
    ----------
    stream : Stream
        At its start.
    name : str
        What to call the file in errors.
    single : bool
        Whether the voxels follow in the same file.

    Raises
    ------
    ImageError
        If it is none, or a field of it cannot be used: which, and what it says.
    """
    raw = _parse(stream, name)
    notices: list[Notice] = []
    shape = _shape(raw, name)
    if len(shape) == 2:
        shape = (*shape, 1)
        notices.append(
            Notice("one-slice", "the image has two axes; it is taken as one slice.", name)
        )
    clean = clean_header(raw, notices, name)
    clean.set_data_shape(shape)
    try:
        dtype = raw.get_data_dtype()
        clean.set_data_dtype(dtype)
    except (HeaderDataError, KeyError):
        raise _unusable(name, "datatype", raw["datatype"], "it names no type of voxels") from None
    offset = _offset(raw, name, single, notices)
    slope, inter = _number(raw["scl_slope"]), _number(raw["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        slope, inter = 1.0, 0.0
    elif not math.isfinite(inter):
        raise _unusable(name, "scl_inter", inter, f"scl_slope is {slope:g}; set scl_inter to 0")
    return Header(clean, shape, dtype, offset, slope, inter, tuple(notices))


def _parse(stream: Stream, name: str) -> Any:
    first = stream.read(4)
    sizes = {int.from_bytes(first, order): mark for order, mark in (("little", "<"), ("big", ">"))}  # type: ignore[arg-type]
    size = next((size for size in _KINDS if size in sizes), 0)
    if len(first) < 4 or not size:
        raise ImageError(f"{name} {what_it_is(first + stream.read(512))}.")
    block = first + stream.read(size - 4)
    if len(block) < size:
        raise ImageError(
            f"{name} is truncated: it ends within the header, after {len(block)} of {size} bytes; "
            "get the file again."
        )
    raw = _KINDS[size](block, endianness=sizes[size], check=False)
    if bytes(raw["magic"].item()) not in _MAGIC[size]:
        raise ImageError(f"{name} {what_it_is(block)}.")
    return raw


def _shape(raw: Any, name: str) -> tuple[int, ...]:
    count = int(raw["dim"][0])
    shape = [int(size) for size in raw["dim"][1 : 1 + max(count, 0)]]
    if not 2 <= count <= 7 or min(shape) < 0 or math.prod(shape) > 2**40:
        dim = [int(size) for size in raw["dim"]]
        raise _unusable(name, "dim", dim, "it is no shape of an image")
    if 0 in shape:
        raise ImageError(f"{name} has no voxels (shape {tuple(shape)}); give another image.")
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _offset(raw: Any, name: str, single: bool, notices: list[Notice]) -> int:
    value = _number(raw["vox_offset"])
    least = int(raw["sizeof_hdr"]) + 4 if single else 0
    if single and value == 0:
        text = f"vox_offset is 0; voxels are read from byte {least}, right after the header."
        notices.append(Notice("vox-offset", text, name, {"vox_offset": 0, "used": least}))
        return least
    if not least <= value <= MAX_EXTENSION:
        rule = f"voxels begin between bytes {least} and {MAX_EXTENSION}"
        raise _unusable(name, "vox_offset", value, rule)
    return int(value)


def clean_header(raw: Any, notices: list[Notice] | None = None, name: str = "") -> Any:
    """Return a new header with what may be kept of another; what was repaired is noticed.

    Parameters
    ----------
    raw : nibabel header
        Of NIfTI 1 or 2, in any byte order; it is not changed.
    notices : list of Notice, optional
        Gets more.
    name : str
        What to call the file.

    Raises
    ------
    ImageError
        If a field that is needed cannot be used.
    """
    told = [] if notices is None else notices
    clean = nib.Nifti2Header() if isinstance(raw, nib.Nifti2Header) else nib.Nifti1Header()
    for field in KEPT:
        clean[field] = raw[field]
    _check_units(clean, told, name)
    for field in ("qform_code", "sform_code"):
        if int(raw[field]) not in _CODES:
            clean[field] = 2 if int(raw[field]) > 0 else 0
            text = (
                f"{field} is {int(raw[field])}, which means nothing; {int(clean[field])} is used."
            )
            told.append(Notice("code", text, name, {field: int(raw[field])}))
    has_sform = int(clean["sform_code"]) > 0 and bool(np.isfinite(_sform(clean)).all())
    clean["pixdim"][0] = -1 if _number(raw["pixdim"][0]) < 0 else 1
    sizes = np.abs(np.array(raw["pixdim"][1:4], np.float64))
    unknown = ~np.isfinite(sizes) | (sizes == 0)
    if unknown.any():
        said = [float(size) for size in raw["pixdim"][1:4]]
        if has_sform:
            sizes, source = np.linalg.norm(_sform(clean)[:3, :3], axis=0), "sform has"
        elif np.isfinite(sizes).all():
            sizes, source = np.where(unknown, 1.0, sizes), "1 mm was assumed:"
        else:
            raise _unusable(name, "pixdim", said, "it is no voxel size, and there is no sform")
        known = [round(float(size), 4) for size in sizes]
        text = f"pixdim is {said}, which is no voxel size; {source} {known}. Check the voxel size."
        told.append(Notice("voxel-size-missing", text, name, {"used": known}))
    clean["pixdim"][1:4] = sizes
    if int(clean["qform_code"]) > 0:
        _check_quaternion(clean, has_sform, bool(unknown.any()), told, name)
    return clean


def _check_units(clean: Any, notices: list[Notice], name: str) -> None:
    length, time = int(clean["xyzt_units"]) & 0x07, int(clean["xyzt_units"]) & 0x38
    if length > 3:
        text = f"xyzt_units is {length}, which is no unit of length; mm was assumed."
        notices.append(Notice("unit", text, name, {"unit": length}))
        length = 0
    clean["xyzt_units"] = length | (time if time <= 48 else 0)


def _check_quaternion(
    clean: Any, has_sform: bool, resized: bool, notices: list[Notice], name: str
) -> None:
    """Repair a qform that has no rotation, or does not fit the voxel sizes any more."""
    fields = ("quatern_b", "quatern_c", "quatern_d")
    parts = np.array([_number(clean[field]) for field in fields])
    offsets = np.array([_number(clean[field]) for field in ("qoffset_x", "qoffset_y", "qoffset_z")])
    if not np.isfinite([*parts, *offsets]).all():
        if not has_sform:
            raise _unusable(
                name, "the qform", parts.tolist(), "it has no place, and there is no sform"
            )
        text = "the qform has fields that are no numbers; it is taken from the sform."
        notices.append(Notice("qform", text, name))
        resized = True
    elif (length := float(np.linalg.norm(parts))) > 1 + 1e-7:
        for field, part in zip(fields, parts / length, strict=True):
            clean[field] = part
        while float(sum(np.float64(clean[field]) ** 2 for field in fields)) > 1 + 1e-7:
            for field in fields:
                clean[field] = np.nextafter(clean[field], clean[field].dtype.type(0))
        text = f"the quaternion of the qform is {length:.6f} long; it was shortened to 1."
        notices.append(Notice("qform", text, name, {"length": length}))
    if resized and has_sform:
        clean.set_qform(_sform(clean), int(clean["qform_code"]))


def _sform(header: Any) -> Affine:
    rows = [np.asarray(header[f"srow_{axis}"], np.float64) for axis in "xyz"]
    return np.stack([*rows, np.array([0.0, 0.0, 0.0, 1.0])])


def _number(value: AnyArray) -> float:
    return float(value)


def _unusable(name: str, field: str, value: Any, why: str) -> ImageError:
    return ImageError(
        f"{name} has a header that cannot be used: {field} is {value} ({why}); repair it, or get "
        "the file again."
    )
