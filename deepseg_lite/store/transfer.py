"""One file over HTTP from a server that may be slow, broken or hostile."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from deepseg_lite.errors import ChecksumError, DeepsegError, NetworkError, OutputError
from deepseg_lite.store.addresses import masked
from deepseg_lite.text import one_line

TIMEOUT_S = 30.0
LEAST_SPEED = 10_000
"""Bytes per second that a server must send, measured over WINDOW_S seconds of waiting for it."""
WINDOW_S = 60.0
HEADER_BYTES = 1 << 18
"""Bytes that a server may send beside the file: status lines, headers, marks of chunks."""
TRANSIENT = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
_CHUNK = 1 << 18
_LENGTH = re.compile(r"[0-9]+")


class Transfer:
    """One file on its way, over as many connections as it takes.

    Parameters
    ----------
    url : str
        An HTTP or HTTPS address.
    path : Path
        File to write.
    limit : int
        Largest number of bytes to accept.
    received : callable
        Called with the bytes that are there, from time to time.
    record : Path, optional
        File that says what is on its way: the address, and what proves that the file is the same.
    resumable : bool
        Whether what is at ``path`` is gone on with though nothing proves that the server still has
        the same file: whoever asks compares the whole with a hash.
    """

    def __init__(
        self,
        url: str,
        path: Path,
        limit: int,
        received: Callable[[int], None] = lambda _: None,
        *,
        record: Path | None = None,
        resumable: bool = False,
    ) -> None:
        self.url, self.path, self.limit, self.received = url, path, limit, received
        self.record, self.resumable = record, resumable
        self.done = path.stat().st_size if resumable and path.is_file() else 0
        self.end: int | None = None
        self.validator: str | None = None  # what proves that it is still the same file

    def attempt(self) -> None:
        """Receive the rest, or everything where the server cannot go on or has another file."""
        headers = {"User-Agent": "deepseg-lite", "Accept-Encoding": "identity"}
        if self.done and (self.validator or self.resumable):
            headers["Range"] = f"bytes={self.done}-"
        if self.done and self.validator:
            headers["If-Range"] = self.validator
        try:
            request = Request(self.url, headers=headers)
            response = _answer(request, _Meter(self.url, self.limit))
        except HTTPError as error:
            error.close()  # it holds the connection
            if error.code == 416:  # nothing after what we have: not the file we began
                self._start_over()
            raise
        with response:
            got = response.headers
            resumes = response.status == 206
            if resumes and not got.get("Content-Range", "").startswith(f"bytes {self.done}-"):
                self._start_over()
                raise ConnectionError("the server sent another part than asked for")
            if not resumes:
                self.done = 0
                validator = got.get("ETag") or got.get("Last-Modified") or "W/"
                is_strong = not validator.startswith("W/") and len(validator) < 200
                self.validator = validator if is_strong and validator.isprintable() else None
            announced = got.get("Content-Length", "")
            self.end = self.done + int(announced[:18]) if _LENGTH.fullmatch(announced) else None
            self._check_room()
            with _opened(self.path, "ab" if resumes else "wb") as file:
                if file.seek(0, os.SEEK_END) != self.done:
                    self._start_over()
                    raise ConnectionError("another process writes the same file")
                self._write_record()
                while chunk := response.read(_CHUNK):
                    self._take(chunk, file)
            if self.end is not None and self.done < self.end:
                raise ConnectionError(f"cut off after {self.done} of {self.end} bytes")

    def _start_over(self) -> None:
        self.validator, self.resumable = None, False

    def _check_room(self) -> None:
        """Refuse what is too large or does not fit, before any of it comes."""
        if self.end is None:
            return
        if self.end > self.limit:
            raise self._too_large()
        needed, free = self.end - self.done, shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise OutputError(
                f"{masked(self.url)} needs {needed / 1e6:.1f} MB, {self.path.parent} has "
                f"{free / 1e6:.1f} MB free; make room or set DEEPSEG_LITE_HOME to a folder on "
                "another disk."
            )

    def _write_record(self) -> None:
        if self.record is not None:
            text = json.dumps({"url": masked(self.url), "validator": self.validator})
            with suppress(OSError):  # without it the next process starts over
                self.record.write_text(text, encoding="utf-8")

    def _too_large(self) -> ChecksumError:
        return ChecksumError(
            f"{masked(self.url)} has more than the {self.limit} bytes it should have; tell whoever "
            "keeps it."
        )

    def _take(self, chunk: bytes, file: BinaryIO) -> None:
        if self.done + len(chunk) > self.limit:
            raise self._too_large()
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:
            with suppress(OSError):  # it tries to write again
                file.close()
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error
        self.done += len(chunk)
        self.received(self.done)


def is_transient(error: Exception) -> bool:
    """Return whether a failed attempt may go well the next time."""
    if isinstance(error, HTTPError):
        return error.code in TRANSIENT
    return isinstance(error, (OSError, HTTPException)) and not isinstance(
        getattr(error, "reason", error), (DeepsegError, ValueError)
    )


def in_one_line(url: str, error: Exception) -> Exception:
    """Return what is wrong with an address, as an error that says so."""
    if isinstance(error, HTTPError):
        if error.code in (404, 410):
            return FileNotFoundError(masked(url))
        reason = f"the server answers {error.code} {error.reason}"
        return NetworkError(one_line(masked(f"{masked(url)} cannot be fetched: {reason}.")))
    cause = getattr(error, "reason", error)
    if isinstance(cause, DeepsegError):
        return cause
    if isinstance(cause, HTTPException) and not isinstance(cause, OSError):
        cause = f"the answer is not HTTP ({type(cause).__name__})"
    message = f"{masked(url)} cannot be fetched: {cause or type(error).__name__}."
    return NetworkError(one_line(f"{masked(message)} Check the network and the address."))


def _opened(path: Path, mode: str) -> BinaryIO:
    try:
        return path.open(mode)  # type: ignore[return-value]
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


class _Meter:
    """Everything that a server sends in one attempt: not too much, and not too slowly."""

    def __init__(self, url: str, limit: int) -> None:
        self.url, self.left = url, limit + limit // 8 + HEADER_BYTES
        self.waited, self.came = 0.0, 0

    def count(self, received: int, seconds: float) -> None:
        """Note bytes and how long they were waited for; refuse a server that goes on too long.

        Raises
        ------
        NetworkError
            If it sends too slowly, or headers without end.
        """
        self.left -= received
        self.waited += seconds
        self.came += received
        if self.left < 0:
            raise NetworkError(
                f"{masked(self.url)} cannot be fetched: the server sends headers or parts without "
                "end; tell whoever keeps it."
            )
        if self.waited >= WINDOW_S:
            if received and self.came < LEAST_SPEED * self.waited:
                raise NetworkError(
                    f"{masked(self.url)} is too slow: {self.came} bytes in {self.waited:.0f} s, at "
                    f"least {LEAST_SPEED} a second are needed; try again later, which goes on "
                    "from there, or another mirror."
                )
            self.waited, self.came = 0.0, 0


class _Metered(io.RawIOBase):
    """What comes from a socket, counted."""

    def __init__(self, raw: io.RawIOBase, meter: _Meter) -> None:
        self._raw, self._meter = raw, meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        start = time.monotonic()
        count = self._raw.readinto(buffer)
        self._meter.count(count or 0, time.monotonic() - start)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """Response whose status line, headers and content are counted."""

    def __init__(self, sock: Any, *args: Any, meter: _Meter, **choices: Any) -> None:
        super().__init__(sock, *args, **choices)
        raw: Any = self.fp
        self.fp = io.BufferedReader(_Metered(raw.detach(), meter))


class _Redirects(HTTPRedirectHandler):
    """Redirects to HTTP(S) alone, and never from https to http."""

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()  # what comes with a redirect is not read
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        scheme = newurl.partition(":")[0].lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise NetworkError(
                one_line(
                    f"{masked(req.full_url)} sends on to {masked(newurl)}, which is not https; ask "
                    "whoever keeps it, or give another mirror."
                )
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _answer(request: Request, meter: _Meter) -> Any:
    """Return the response to a request; nothing but HTTP(S) is asked, whatever redirects say."""

    def connected(kind: type[HTTPConnection]) -> Callable[..., HTTPConnection]:
        def connect(host: str, **choices: Any) -> HTTPConnection:
            connection: Any = kind(host, **choices)
            if connection.port > 65535:  # the system would take another
                raise ValueError(f"{connection.port} is no port")
            connection.response_class = partial(_Response, meter=meter)
            return connection  # type: ignore[no-any-return]

        return connect

    http, https = HTTPHandler(), HTTPSHandler()
    http.http_open = lambda request: http.do_open(connected(HTTPConnection), request)  # type: ignore
    https.https_open = lambda request: https.do_open(connected(HTTPSConnection), request)  # type: ignore
    opener = OpenerDirector()
    others = (ProxyHandler(), UnknownHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor())
    for handler in (*others, _Redirects(), http, https):
        opener.add_handler(handler)
    return opener.open(request, timeout=TIMEOUT_S)
