"""Mirrors that are broken or hostile: bad answers to `deepseg-lite fetch`, from a seed.

    python tests/campaigns/mirrors.py --seed 1

prints one line for each answer that is taken badly. tests/store/test_bad_mirrors.py takes some.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gzip
import io
import json
import os
import random
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import bundles
from helpers.paths import DATA

NAME = "tiny_threshold"
NETWORK = "threshold_3d.onnx"
MANIFEST = "manifest.json"
Answer = bytes | Callable[[socket.socket], None]


def make_manifest(kind: str = "threshold") -> dict[str, Any]:
    """Return a valid manifest of which every part may be changed."""
    return copy.deepcopy(bundles.make_manifest(kind))


@dataclass(frozen=True)
class Case:
    """Mirror by what it answers: whole responses by file, 404 for others."""

    name: str
    answers: Mapping[str, Answer] = field(repr=False)


class Mirror:
    """Server on loopback that answers as a case says, byte for byte."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.requests: list[str] = []

    def __enter__(self) -> Mirror:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                path = connection.recv(65536).split(b" ")[1].decode("latin-1").lstrip("/")
                self.requests.append(path)
                answer = self.case.answers.get(path, response(b"", "404 Not Found"))
                if isinstance(answer, bytes):
                    connection.sendall(answer)
                else:
                    answer(connection)
            except (OSError, IndexError):  # whoever asked has gone
                pass


def response(body: bytes, status: str = "200 OK", **headers: object) -> bytes:
    """Return a whole response; ``None`` leaves a header out."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    fields = {"Content-Length": len(body), **named}
    lines = [f"{key}: {value}" for key, value in fields.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1") + body


def endless(start: bytes, data: bytes) -> Answer:
    """Return an answer that goes on for ever."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(data)

    return answer


def drip(start: bytes) -> Answer:
    """Return an answer that goes on a byte at a time."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b" ")
            threading.Event().wait(0.02)

    return answer


def bundle(manifest: Any = None, **files: Answer) -> dict[str, Answer]:
    """Return the answers of a mirror with the bundle, or with another manifest of that name."""
    document = make_manifest() if manifest is None else manifest
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    good = {
        f"{NAME}/{MANIFEST}": response(text),
        f"{NAME}/{NETWORK}": response((DATA / NETWORK).read_bytes()),
    }
    return good | {f"{NAME}/{name.replace('__', '.')}": answer for name, answer in files.items()}


def cases(rng: random.Random) -> Iterator[Case]:
    """Yield mirrors with something wrong, about 300; another generator gives others."""
    yield from _documents(rng)
    yield from _values(rng)
    yield from _fields()
    yield from _companions()
    yield from _responses(rng)
    yield from _networks(rng)


def _documents(rng: random.Random) -> Iterator[Case]:
    """Yield manifests that are no JSON, or JSON that nobody should read."""
    text = json.dumps(make_manifest()).encode()
    documents = {
        "empty": b"",
        "null": b"null",
        "a list": b"[]",
        "a number": b"1",
        "a text": b'"x"',
        "an object": b"{}",
        "a page": b"<html><title>\x1b[31mLog in</title></html>",
        "deep lists": b"[" * 10**5,
        "deep objects": b'{"a":' * 10**5,
        "closed": b"[" * 900 + b"]" * 900,
        "zeros": bytes(1000),
        "bad UTF-8": b'{"name": "\xff\xfe"}',
        "UTF-16": text.decode().encode("utf-16"),
        "a mark": b"\xef\xbb\xbf" + text,
        "twice": text + text,
        "gzip": gzip.compress(text),
        "gzip bomb": gzip.compress(bytes(10**7)),
        "a long number": b'{"schema": ' + b"1" * 10**5 + b"}",
        "a long text": b'{"name": "' + b"x" * 10**6 + b'"}',
        "many keys": json.dumps(dict.fromkeys(map(str, range(10**5)))).encode(),
        "many values": json.dumps([1, "a"] * 10**5).encode(),
        "too large": b" " * 3_000_000,
        "a pickle": b"\x80\x04cos\nsystem\n",
        "a zip": b"PK\x03\x04" + bytes(500),
        "ONNX": (DATA / NETWORK).read_bytes(),
        "a key in many": b'{"a":1,' * 1
        + b",".join(b'"k%d":1' % i for i in range(10**5))
        + b',"k99999":2}',
    }
    for name, document in documents.items():
        yield Case(f"the manifest is {name}", bundle(document))
    for _ in range(20):
        end = rng.randrange(1, len(text))
        yield Case(f"the manifest ends at {end}", bundle(text[:end]))
    for key in make_manifest():
        again = text[:-1] + b", " + json.dumps(key).encode() + b": " + text + b"}"
        yield Case(f"{key} is there twice", bundle(again))


def _values(rng: random.Random) -> Iterator[Case]:
    """Yield manifests with a value that none may have, somewhere."""
    bad: list[Any] = [
        "\0",
        "\ud800",
        "\x1b[2J",
        "a\nb",
        "x" * 10**4,
        "\x9b31m",
        10**400,
        -(10**30),
        1e300,
        float("nan"),
        float("inf"),
        [[[]] * 10] * 1001,
        {"a": {"b": {}}},
        [0] * 1001,
    ]
    places = list(_leaves(make_manifest()))
    for _ in range(100):
        place, value = rng.choice(places), rng.choice(bad)
        manifest = make_manifest()
        inner = manifest
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        shown = "/".join(map(str, place))
        yield Case(f"{shown} is {ascii(value)[:30]}", bundle(json.dumps(manifest).encode()))


def _leaves(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list) and inner:
            yield from _leaves(inner, (*above, key))
        else:
            yield (*above, key)


def _fields() -> Iterator[Case]:
    """Yield manifests with a field that is wrong for fetching."""
    names = [
        "..",
        ".",
        "",
        "../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\n",
        "x" * 200,
        "Tiny_Threshold",
        "other",
    ]
    for name in names:
        yield Case(f"its name is {ascii(name)[:20]}", bundle({**make_manifest(), "name": name}))
    paths = [
        "../x.onnx",
        "/tmp/x.onnx",
        "a/b.onnx",
        "a\\b.onnx",
        "..\\x.onnx",
        "C:x.onnx",
        ".x.onnx",
        "manifest.json",
        "source.json",
        "x.onnx\n",
        "x.onnx\0",
        "\0.onnx",
        "\ud800.onnx",
        "x" * 300 + ".onnx",
        "%2e%2e%2fx.onnx",
        "x.onnx?y",
        "x.onnx#y",
        "http://h/x.onnx",
        "",
        "-x.onnx",
        "~/x.onnx",
        "x.py",
    ]
    for path in paths:
        yield _network_case("its network is called", "path", path)
    size = (DATA / NETWORK).stat().st_size
    sizes = [
        -1,
        0,
        size - 1,
        size + 1,
        2**31,
        2**53,
        2**63,
        10**30,
        float(size),
        str(size),
        None,
        True,
    ]
    for value in sizes:
        yield _network_case("its network has the size", "size", value)
    for value in ["", "0" * 64, "0" * 63, "G" * 64, "0" * 10**4, None, 0, ["0" * 64]]:
        yield _network_case("its network has the hash", "sha256", value)
    for key, value in [
        ("schema", 2),
        ("schema", "1"),
        ("schema", True),
        ("kind", "cord_detector"),
        ("kind", "code"),
        ("networks", []),
        ("networks", {}),
        ("networks", make_manifest()["networks"] * 2),
        ("networks", make_manifest()["networks"] * 900),
        ("code", "import os"),
        ("__class__", "os.system"),
    ]:
        yield Case(f"its {key} is {ascii(value)[:20]}", bundle({**make_manifest(), key: value}))
    network = make_manifest()["networks"][0]
    for path in (NETWORK, NETWORK.upper().replace("ONNX", "onnx")):
        variant = {"precision": "int8", "path": path, "sha256": "0" * 64, "size": network["size"]}
        yield _network_case("its network has the variant", "variants", [variant])


def _network_case(what: str, key: str, value: Any) -> Case:
    manifest = make_manifest()
    manifest["networks"][0][key] = value
    return Case(f"{what} {ascii(value)[:30]}", bundle(manifest))


def _companions() -> Iterator[Case]:
    """Yield bundles that bring, or replace, what was not asked for."""
    for needs in (
        "old",
        NAME,
        f"{NAME}2",
        f"{NAME}.",
        f"{NAME}./../x",
        f"{NAME}.x",
        "sc_gm_t2star",
    ):
        manifest = make_manifest("channels") | {"name": NAME}
        manifest["prior"] = {"bundle": needs, "channels": ["t1"]}
        manifest["preprocessing"] = [{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}]
        answers = bundle(
            manifest, two_channels_3d__onnx=response((DATA / "two_channels_3d.onnx").read_bytes())
        )
        chain = copy.deepcopy(manifest) | {"name": needs}
        chain["prior"]["bundle"] = f"{needs}.x"
        answers[f"{needs}/{MANIFEST}"] = response(json.dumps(chain).encode())
        yield Case(f"it needs {needs}", answers)


def _responses(rng: random.Random) -> Iterator[Case]:
    """Yield answers that no server should give, in place of the files."""
    size = (DATA / NETWORK).stat().st_size
    bodies = {
        MANIFEST: json.dumps(make_manifest()).encode(),
        NETWORK: (DATA / NETWORK).read_bytes(),
    }
    for file, body in bodies.items():
        half = body[: len(body) // 2]
        found = {
            "nothing": b"",
            "a new line": b"\r\n",
            "bytes": rng.randbytes(1000),
            "a status of HTTP/9": b"HTTP/9 200 OK\r\n\r\n",
            "a status line": b"HTTP/1.1 200 OK",
            "control characters": b"HTTP/1.1 \x1b[31m OK\r\n\r\n",
            "half": response(half, Content_Length=len(body)),
            "half and no length": response(half, Content_Length=None),
            "nothing announced": response(b"", Content_Length=0),
            "a page": response(b"<html>\x1b[31mLog in</html>"),
            "a length below 0": response(half, Content_Length=-5),
            "a length of words": response(half, Content_Length="many"),
            "a length that is large": response(body, Content_Length=10**15),
            "a length without end": response(body, Content_Length="9" * 5000),
            "a length of a square": response(half, Content_Length="\xb2"),
            "more than announced": response(body + body, Content_Length=None),
            "without end": endless(response(b"", Content_Length=None), b" " * 65536),
            "headers without end": endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
            "a header without end": endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65536),
            "100 without end": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
            "chunks without end": endless(
                response(b"", Content_Length=None, Transfer_Encoding="chunked"),
                b"1\r\n \r\n" * 1000,
            ),
            "a chunk below 0": response(
                b"-1\r\n" + body, Content_Length=None, Transfer_Encoding="chunked"
            ),
            "a chunk of words": response(
                b"many\r\n" + body, Content_Length=None, Transfer_Encoding="chunked"
            ),
            "a chunk that is large": response(
                b"f" * 15 + b"\r\n" + half, Content_Length=None, Transfer_Encoding="chunked"
            ),
            "drips": drip(response(b"", Content_Length=size)),
            "a header that drips": drip(b"HTTP/1.1 200 OK\r\nX: "),
            "gzip": response(gzip.compress(body), Content_Encoding="gzip"),
            "a gzip bomb": response(gzip.compress(bytes(10**7)), Content_Encoding="gzip"),
            "a part": response(
                half, "206 Partial Content", Content_Range=f"bytes 0-{len(half) - 1}/{len(body)}"
            ),
            "another part": response(
                half, "206 Partial Content", Content_Range=f"bytes 5-9/{len(body)}"
            ),
            "a part of nothing": response(half, "206 Partial Content"),
        }
        statuses = [
            "204 No Content",
            "205 Reset",
            "300 Choices",
            "301 Moved",
            "304 Not Modified",
            "400 Bad",
            "401 Who",
            "403 No",
            "404 No",
            "407 Proxy",
            "408 Late",
            "410 Gone",
            "416 Range",
            "418 Tea",
            "429 Slow",
            "451 Law",
            "500 Oh",
            "502 Oh",
            "503 Oh",
            "599 Oh",
            "999 Oh",
            "099 Oh",
            "000 Oh",
            "-1 Oh",
            "500 " + "x" * 60000,
            "500 \x1b[31mred\x07",
            "403 see https://me:pw@h/?sig=x",
        ]
        found |= {f"status {status[:20]!a}": response(b"no", status) for status in statuses}
        places = [
            "file:///etc/passwd",
            "ftp://127.0.0.1/x",
            "data:,{}",
            "gopher://h/",
            "//[::1",
            "http://[x]/",
            "/\x01",
            "http://h:99999/",
            f"/{NAME}/{file}",
            "http://127.0.0.1:1/",
            f"http://{'x' * 70}/",
            "",
            "http:",
            "https:///",
            "javascript:alert(1)",
        ]
        found |= {
            f"a redirect to {place!a}": response(
                b"", f"{rng.choice([301, 302, 303, 307, 308])} Go", Location=place
            )
            for place in places
        }
        for what, answer in found.items():
            yield Case(f"{what} for {file}", bundle() | {f"{NAME}/{file}": answer})
    for status in ("500 Oh", "403 No"):
        yield Case(f"{status} for the card", bundle(README__md=response(b"", status)))
    yield Case(
        "a card without end",
        bundle(README__md=endless(response(b"", Content_Length=None), b"x" * 65536)),
    )


def _networks(rng: random.Random) -> Iterator[Case]:
    """Yield networks that are not those of the manifest."""
    data = (DATA / NETWORK).read_bytes()
    for _ in range(15):
        at = rng.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]
        yield Case(
            f"byte {at} of the network differs", bundle() | {f"{NAME}/{NETWORK}": response(flipped)}
        )
    for end in rng.sample(range(len(data)), 10):
        yield Case(
            f"the network ends at {end}", bundle() | {f"{NAME}/{NETWORK}": response(data[:end])}
        )


def problems(case: Case, run: Callable[[list[str]], tuple[int, str, str]]) -> list[str]:
    """Return what is wrong with how a mirror is taken, when an older bundle is here.

    ``run`` runs a command line in this process; it returns the exit code and both streams.
    """
    from deepseg_lite.store import cache

    folder = cache.bundle_directory(NAME)
    if folder.exists():
        shutil.rmtree(folder)
    bundles.write_bundle(folder, version="0.9")
    before = _files()
    with Mirror(case) as mirror:
        code, out, err = run(["fetch", NAME, "--force", "--repin", "--mirror", mirror.url])
    line = err.removesuffix("\n")
    checks = {
        f"exit code {code}": code in (1, 2),
        f"stdout {out[:80]!a}": not out,
        f"{len(line)} characters": 0 < len(line) < 300,
        f"not one line to show, {line[:300]!a}": line.isprintable(),
        "something was installed or lost": _files() == before,
    }
    return [problem for problem, is_good in checks.items() if not is_good]


def _files() -> dict[Path, bytes]:
    """Return all of the cache but what waits to be gone on with."""
    from deepseg_lite.store import cache

    found = (path for path in cache.home().rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found if "partial" not in path.parts}


def main() -> int:
    """Run every case in this process; return how many were taken badly."""
    from deepseg_lite.cli.group import main as command
    from deepseg_lite.store import download, transfer

    def run(words: list[str]) -> tuple[int, str, str]:
        out, err, code = io.StringIO(), io.StringIO(), 0
        sys.argv = ["deepseg-lite", *words]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                command()
            except SystemExit as ended:
                code = int(ended.code or 0)
            except BaseException as error:
                code = -1
                err.write(repr(error))
        return code, out.getvalue(), err.getvalue()

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    given = list(cases(random.Random(parser.parse_args().seed)))
    download.ATTEMPTS, download.PAUSE_S = 2, 0.0
    transfer.WINDOW_S, transfer.TIMEOUT_S = 0.5, 2.0
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DEEPSEG_LITE_HOME"] = folder
        for case in given:
            if found := problems(case, run):
                bad += 1
                print(f"{case.name}: {'; '.join(found)}")
    print(f"{bad} of {len(given)} answers were taken badly")
    return bad


if __name__ == "__main__":
    sys.exit(min(main(), 1))
