"""Files over HTTP: resumed when cut off, tried again when a server stumbles, never too large."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

from deepseg_lite.errors import ChecksumError, DeepsegError, OutputError
from deepseg_lite.store.addresses import masked
from deepseg_lite.store.transfer import Transfer, in_one_line, is_transient

Received = Callable[[int], None]
Progress = Callable[[int, int], None]
Result = TypeVar("Result")

OFFLINE_VARIABLES = ("DEEPSEG_LITE_OFFLINE", "HF_HUB_OFFLINE")
"""Variables that forbid the network where one is 1."""
ATTEMPTS = 5
PAUSE_S = 0.5


def network_forbidden(*, offline: bool = False) -> bool:
    """Return whether the network is not to be used: ``offline``, or `OFFLINE_VARIABLES`."""
    said = (os.environ.get(name, "").upper() for name in OFFLINE_VARIABLES)
    return offline or any(text in ("1", "ON", "YES", "TRUE") for text in said)


def retry(action: Callable[[], Result], passes: Callable[[Exception], bool]) -> Result:
    """Return what an action returns, trying it again, later and later, after passing failures."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return action()
        except Exception as error:
            if not passes(error):
                raise
        time.sleep(PAUSE_S * 2**attempt)
    return action()


def download(url: str, path: Path, *, limit: int, received: Received | None = None) -> None:
    """Download a file.

    Parameters
    ----------
    url : str
        An HTTP or HTTPS address.
    path : Path
        File to write. What a failed attempt received stays there, and the next one goes on from it.
    limit : int
        Largest number of bytes to accept.
    received : callable, optional
        Called with the bytes that are there, from time to time.

    Raises
    ------
    FileNotFoundError
        If the server does not have the file.
    ChecksumError
        If there are more than ``limit`` bytes.
    NetworkError
        If it cannot be had after several attempts, or comes too slowly.
    OutputError
        If it cannot be written.
    """
    path.unlink(missing_ok=True)
    _receive(Transfer(url, path, limit, received or (lambda _: None)))


def download_resumed(
    url: str,
    path: Path,
    *,
    limit: int,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Download a file such that another process goes on where this one stops.

    Until the file is complete it is called ``path`` and ``.part``. Where its hash is not known, a
    record beside it, see `record_of`, has its address and what proves that the server still has the
    same file.

    Parameters
    ----------
    url : str
        An HTTP or HTTPS address.
    path : Path
        File to write; its folder is made.
    limit : int
        Largest number of bytes to accept.
    sha256 : str, optional
        Hash that the whole file must have.
    progress : callable, optional
        Called with the bytes received and the bytes in all, where the server says how many.

    Raises
    ------
    FileNotFoundError, ChecksumError, NetworkError, OutputError
        As `download`, or for another hash; what came stays for the next attempt, unless its hash is
        wrong.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be made: {error.strerror}.") from error

    def received(done: int) -> None:
        if progress is not None and transfer.end is not None:
            progress(done, transfer.end)

    if sha256 is None:
        transfer = Transfer(url, partial, limit, received, record=_record_path(path))
        record = record_of(path)
        if record.get("url") == masked(url) and partial.is_file():
            transfer.done, transfer.validator = partial.stat().st_size, record.get("validator")
        _receive(transfer)
    else:
        transfer = Transfer(url, partial, limit, received, resumable=True)
        began = transfer.done
        if began < limit:
            _receive(transfer)
        if began and _hash_of(partial) != sha256:  # it was the beginning of something else
            partial.unlink()
            transfer = Transfer(url, partial, limit, received, resumable=True)
            _receive(transfer)
        if (found := _hash_of(partial)) != sha256:
            partial.unlink()
            raise ChecksumError(
                f"{masked(url)} has SHA-256 {found[:12]}..., not {sha256[:12]}...; tell whoever "
                "keeps it."
            )
    try:
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


def record_of(path: Path) -> dict[str, Any]:
    """Return what `download_resumed` wrote about a file: ``url`` and ``validator``, or nothing."""
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def discard(path: Path) -> None:
    """Remove a file that `download_resumed` received, and what it wrote about it."""
    for file in (path, _record_path(path)):
        file.unlink(missing_ok=True)


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def _receive(transfer: Transfer) -> None:
    """Try until it is there; say what is wrong in one line."""
    try:
        retry(transfer.attempt, is_transient)
    except DeepsegError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise in_one_line(transfer.url, error) from error
