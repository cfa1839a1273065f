"""Files over HTTP: resumed when cut off, tried again when a server stumbles, never too large."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from deepseg_lite.errors import ChecksumError, DeepsegError, NetworkError, OutputError

Advance = Callable[[int], None]
Result = TypeVar("Result")

ATTEMPTS = 5
PAUSE_S = 0.5
TIMEOUT_S = 30.0
TRANSIENT = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
_CHUNK = 1 << 18


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
    transfer = _Transfer(url, path, limit, advance or (lambda _: None))
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

    def __init__(self, url: str, path: Path, limit: int, advance: Advance) -> None:
        self.url, self.path, self.limit, self.advance = url, path, limit, advance
        self.done = 0
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
            end = self.done + int(announced) if announced.isdigit() else None
            with _opened(self.path, "ab" if resumes else "wb") as file:
                while chunk := response.read(_CHUNK):
                    self._take(chunk, file)
            if end is not None and self.done < end:
                raise ConnectionError(f"cut off after {self.done} of {end} bytes")

    def _take(self, chunk: bytes, file: BinaryIO) -> None:
        if self.done + len(chunk) > self.limit:
            raise ChecksumError(
                f"{self.url} has more than the {self.limit} bytes it should have; tell whoever "
                "keeps it."
            )
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
