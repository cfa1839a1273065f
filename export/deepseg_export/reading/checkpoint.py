"""Checkpoints: files of ``torch.save`` by strangers, read without torch and without their code.

A file is parsed here alone, and never handed to torch: two readers may see two files in one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.containers import read_legacy, read_zip
from deepseg_export.reading.limits import check_file, check_tree, unreadable
from deepseg_export.reading.records import Record, kind_of

MAX_BYTES = 16 * 1024**3
_ZIP, _PICKLE, _TAR = b"PK\x03\x04", b"\x80", b"ustar"
_SCRIPT = "__torch__."


def read_saved(path: Path) -> Any:
    """Read a file of ``torch.save``, in its zip or in what was there before torch 1.6.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    content : object
        Of plain values; arrays for tensors, those of bfloat16 as float32, those of a zip to be read
        only; and a `Record` of each thing of any other kind.

    Raises
    ------
    CheckpointError
        If it is damaged, of another kind or beyond a limit.
    """
    check_file(path, MAX_BYTES)
    try:
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            if start.startswith(_ZIP):
                content = read_zip(path, file)
            elif start.startswith(_PICKLE):
                content = read_legacy(path, file)
            elif _TAR in start[250:270]:
                raise CheckpointError(
                    f"{path} is a tar file, as torch wrote before 2017; load it with torch where "
                    "you trust it, and save it again."
                )
            else:
                raise CheckpointError(f"{path} is no file of torch.save; get it again.")
    except CheckpointError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # a damaged pickle may raise anything at all
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({lines[0][:120].rstrip('.')}); get it again."
        ) from error
    check_tree(content, path)
    return content


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file of ``torch.save`` that holds a dictionary; see `read_saved`.

    Raises
    ------
    CheckpointError
        If it holds anything else, or as `read_saved`.
    """
    return checked_dictionary(path, read_saved(path))


def checked_dictionary(path: Path, content: Any) -> dict[str, Any]:
    """Return the content of a file, if it is a dictionary.

    Raises
    ------
    CheckpointError
        If it is not.
    """
    if isinstance(content, Record) and content.name.startswith(_SCRIPT):
        raise CheckpointError(
            f"{path} is a TorchScript program; a checkpoint dictionary is needed."
        )
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {kind_of(content)}; a checkpoint dictionary is needed."
        )
    return content


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1024**2):
            digest.update(block)
    return digest.hexdigest()
