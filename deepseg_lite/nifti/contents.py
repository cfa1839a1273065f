"""Contents of files that are no NIfTI images: what they are, and the tool that helps."""

from __future__ import annotations

import os
from pathlib import Path

_STARTS = {
    b"\x1f\x8b": "is compressed twice; decompress it once (gunzip)",
    b"BZh": "is compressed twice; decompress it once (bunzip2)",
    b"version https://git-lfs": "is a pointer of Git LFS, not the image; get it with git lfs pull",
    b"/annex/objects": "is a pointer of git-annex, not the image; get that with datalad get, or "
    "git annex get",
    b"<": "is a web page or XML, not an image; download the image itself",
    b"{": "is JSON, not an image; give the image beside it",
    b"NRRD": "is an NRRD file; convert it to NIfTI, for example with 3D Slicer",
    b"ObjectType": "is a MetaImage header; convert it to NIfTI, for example with 3D Slicer",
    b"\x89HDF": "is an HDF5 or MINC file; convert it to NIfTI, for example with mnc2nii",
    b"CDF": "is a MINC file; convert it to NIfTI with mnc2nii",
    b"PK": "is a zip archive; unpack it and give the image inside",
    b"\x89PNG": "is a picture (PNG); give the scan itself, as NIfTI",
    b"\xff\xd8\xff": "is a picture (JPEG); give the scan itself, as NIfTI",
    b"II*\0": "is a TIFF file; convert it to NIfTI",
    b"MM\0*": "is a TIFF file; convert it to NIfTI",
    b"%PDF": "is a PDF; give the scan itself, as NIfTI",
    b"\0\0\0\1": "is an image of FreeSurfer (mgh, mgz); convert it with mri_convert",
}
_DICOM = "is a DICOM file; convert its series to NIfTI with dcm2niix, and give that"


def what_it_is(head: bytes) -> str:
    """Return what is wrong with a file that does not begin as a NIfTI file does.

    Parameters
    ----------
    head : bytes
        Its first bytes, decompressed; 132 tell DICOM.
    """
    if head[128:132] == b"DICM":
        return _DICOM
    for start, text in _STARTS.items():
        if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(start) or head.startswith(start):
            return text
    if head[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"):
        return (
            "is an Analyze image, which does not say where left is; convert it to NIfTI, for "
            "example with nib-convert, and check its sides"
        )
    if head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "is a text file, not an image; give a .nii or .nii.gz file"
    return "is no NIfTI file; give a .nii or .nii.gz file, or convert it to one"


def what_is_missing(path: Path) -> str:
    """Return why a path that does not exist has no image."""
    if path.is_symlink():
        target = os.readlink(path)
        if "annex/objects" in target.replace("\\", "/"):
            return "was not downloaded (git-annex); get it with datalad get, or git annex get"
        return "is a link to a file that does not exist; give an existing NIfTI image"
    return "does not exist; give an existing NIfTI image"


def what_a_folder_is(path: Path) -> str:
    """Return what to do with a folder that was given in place of an image."""
    if holds_dicom(path):
        return "holds DICOM files; convert them with dcm2niix, and give the result"
    return "is a folder; give the NIfTI images in it"


def holds_dicom(path: Path) -> bool:
    """Return whether one of the first files of a folder is DICOM."""
    try:
        with os.scandir(path) as entries:
            files = [entry for entry in entries if entry.is_file()][:3]
        for file in files:
            with open(file, "rb") as opened:
                if what_it_is(opened.read(132)) == _DICOM:
                    return True
    except OSError:
        pass
    return False
