"""Files over HTTP: resumed when cut off, tried again when a server stumbles, never too large."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from deepseg_lite.errors import ChecksumError, DeepsegError, NetworkError, OptionError, OutputError

Advance = Callable[[int], None]
Progress = Callable[[int, int], None]
Result = TypeVar("Result")

ATTEMPTS = 5
PAUSE_S = 0.5
TIMEOUT_S = 30.0
TRANSIENT = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
_CHUNK = 1 << 18


def network_forbidden(*, offline: bool = False) -> bool:
    """Return whether the network is not to be used: ``offline``, or ``HF_HUB_OFFLINE=1``."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def mirror_address(url: str) -> str:
    """Return the address of a mirror without its last slash.

    Raises
    ------
    OptionError
        If it is not an HTTP(S) address, or holds a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise OptionError(
            f"{url} is not a mirror; an http:// or https:// address without a password is needed."
        )
    return url.rstrip("/")


def retry(action: Callable[[], Result], is_transient: Callable[[Exception], bool]) -> Result:
    """Return what an action returns, trying it again, later and later, after passing failures."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
        time.sleep(PAUSE_S * 2**attempt)
    return action()


def download(url: str, path: Path, *, limit: int, advance: Advance | None = None) -> None:
    """Download a file.

    Parameters
    ----------
    url : str
        An HTTP or HTTPS address.
    path : Path
        File to write. What a failed attempt received stays there, and the next one goes on from it.
    limit : int
        Largest number of bytes to accept.
    advance : callable, optional
        Called with the number of bytes of each piece; negative when the server starts over.

    Raises
    ------
    FileNotFoundError
        If the server does not have the file.
    ChecksumError
        If there are more than ``limit`` bytes.
    NetworkError
        If it cannot be had after several attempts.
    OutputError
        If it cannot be written.
    """
    path.unlink(missing_ok=True)
    _receive(_Transfer(url, path, limit, advance or (lambda _: None)))


def download_resumed(url: str, path: Path, *, limit: int, progress: Progress | None = None) -> None:
    """Download a file such that another process goes on where this one stops.

    Until the file is complete it is called ``path`` and ``.part``. Beside it is a record, see
    `record_of`, of its address and of what proves that the server still has the same file.

    Parameters
    ----------
    url : str
        An HTTP or HTTPS address.
    path : Path
        File to write; its folder is made.
    limit : int
        Largest number of bytes to accept.
    progress : callable, optional
        Called with the bytes received and the bytes in all, where the server says how many.

    Raises
    ------
    FileNotFoundError, ChecksumError, NetworkError, OutputError
        As `download`; what came stays for the next attempt.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be made: {error.strerror}.") from error
    transfer = _Transfer(url, partial, limit, record=_record_path(path))
    record = record_of(path)
    if record.get("url") == url and partial.is_file():
        transfer.done, transfer.validator = partial.stat().st_size, record.get("validator")

    def advance(_: int) -> None:
        if progress is not None and transfer.end is not None:
            progress(transfer.done, transfer.end)

    transfer.advance = advance
    _receive(transfer)
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


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _receive(transfer: _Transfer) -> None:
    """Try until it is there; say what is wrong in one line."""
    url = transfer.url
    try:
        retry(transfer.attempt, _is_transient)
    except HTTPError as error:
        if error.code in (404, 410):
            raise FileNotFoundError(url) from error
        raise NetworkError(
            f"{url} cannot be fetched: the server answers {error.code} {error.reason}."
        ) from error
    except DeepsegError:
        raise
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise NetworkError(
            f"{url} cannot be fetched: {reason or type(error).__name__}. Check the network and "
            "the address."
        ) from error


def _is_transient(error: Exception) -> bool:
    if isinstance(error, HTTPError):
        return error.code in TRANSIENT
    return isinstance(error, (OSError, HTTPException)) and not isinstance(error, DeepsegError)


class _Transfer:
    """One file on its way, over as many connections as it takes."""

    def __init__(
        self,
        url: str,
        path: Path,
        limit: int,
        advance: Advance = lambda _: None,
        record: Path | None = None,
    ) -> None:
        self.url, self.path, self.limit, self.advance = url, path, limit, advance
        self.record = record
        self.done = 0
        self.end: int | None = None
        self.validator: str | None = None  # what proves that it is still the same file

    def attempt(self) -> None:
        """Receive the rest, or everything where the server cannot go on or has another file."""
        headers = {"User-Agent": "deepseg-lite", "Accept-Encoding": "identity"}
        if self.done and self.validator:
            headers.update({"Range": f"bytes={self.done}-", "If-Range": self.validator})
        try:
            response = urlopen(Request(self.url, headers=headers), timeout=TIMEOUT_S)
        except HTTPError as error:
            error.close()  # it holds the connection
            if error.code == 416:  # nothing after what we have: not the file we began
                self.validator = None
            raise
        with response:
            got = response.headers
            resumes = response.status == 206
            if resumes and not got.get("Content-Range", "").startswith(f"bytes {self.done}-"):
                self.validator = None
                raise ConnectionError("the server sent another part than asked for")
            if not resumes:
                self.advance(-self.done)
                self.done = 0
                validator = got.get("ETag") or got.get("Last-Modified")
                self.validator = None if (validator or "W/").startswith("W/") else validator
            announced = got.get("Content-Length", "")
            self.end = self.done + int(announced) if announced.isdigit() else None
            self._check_room()
            with _opened(self.path, "ab" if resumes else "wb") as file:
                if file.seek(0, os.SEEK_END) != self.done:
                    self.validator = None
                    raise ConnectionError("another process writes the same file")
                self._write_record()
                while chunk := response.read(_CHUNK):
                    self._take(chunk, file)
            if self.end is not None and self.done < self.end:
                raise ConnectionError(f"cut off after {self.done} of {self.end} bytes")

    def _check_room(self) -> None:
        """Refuse what is too large or does not fit, before any of it comes."""
        if self.end is None:
            return
        if self.end > self.limit:
            raise self._too_large()
        needed, free = self.end - self.done, shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise OutputError(
                f"{self.url} needs {needed / 1e6:.1f} MB, {self.path.parent} has {free / 1e6:.1f} "
                "MB free; make room or set DEEPSEG_LITE_HOME to a folder on another disk."
            )

    def _write_record(self) -> None:
        if self.record is not None:
            text = json.dumps({"url": self.url, "validator": self.validator})
            with suppress(OSError):  # without it the next process starts over
                self.record.write_text(text, encoding="utf-8")

    def _too_large(self) -> ChecksumError:
        return ChecksumError(
            f"{self.url} has more than the {self.limit} bytes it should have; tell whoever keeps "
            "it."
        )

    def _take(self, chunk: bytes, file: BinaryIO) -> None:
        if self.done + len(chunk) > self.limit:
            raise self._too_large()
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error
        self.done += len(chunk)
        self.advance(len(chunk))


def _opened(path: Path, mode: str) -> BinaryIO:
    try:
        return path.open(mode)  # type: ignore[return-value]
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
