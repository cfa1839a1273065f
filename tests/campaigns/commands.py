"""Commands in processes of their own, started in milliseconds: each is a fork of this one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
SERVER = """
import json, pathlib, sys, threading
from helpers.hub import HubServer
with HubServer() as server:
    server.handle_error = lambda *_: None  # clients that were killed
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    print(server.url, flush=True)
    for line in sys.stdin:
        folder, name = json.loads(line)
        files = pathlib.Path(folder).iterdir()
        server.mirror |= {f"{name}/{path.name}": path.read_bytes() for path in files}
        print("ready", flush=True)
    server.shutdown()
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, below 0 for a signal, and both streams."""

    code: int
    out: str
    err: str


class Command:
    """Command line in a fork of this process, which has imported what it needs.

    Parameters
    ----------
    words : sequence of paths and str
        Its arguments.
    log : Path
        Beginning of the names of the files for its streams.
    main : callable
        Its entry point.
    at : float
        When it begins, as `time.time` has it, so that several begin at once.
    """

    def __init__(
        self, words: list[object], log: Path, main: Callable[[], None], at: float = 0.0
    ) -> None:
        self._out, self._err = log.with_suffix(".out"), log.with_suffix(".err")
        self._code: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run([str(word) for word in words], main, at)

    def _run(self, words: list[str], main: Callable[[], None], at: float) -> None:
        """Be the command; never return."""
        code = 70
        try:
            for number, path in ((1, self._out), (2, self._err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            for number in SIGNALS[1:]:
                handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, handler)
            sys.argv = ["deepseg-lite", *words]
            time.sleep(max(0.0, at - time.time()))
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except KeyboardInterrupt:  # outside of what the command line catches
            code = 1
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def is_done(self) -> bool:
        """Return whether it has ended."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code is not None

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if not self.is_done():
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for its end."""
        if self._code is None:
            _, status = os.waitpid(self.pid, 0)
            self._code = os.waitstatus_to_exitcode(status)
        texts = [path.read_text() if path.exists() else "" for path in (self._out, self._err)]
        return Ended(self._code, *texts)


class Mirror:
    """Mirror on loopback, in another process: one with threads must not fork."""

    def __init__(self) -> None:
        tests = Path(__file__).resolve().parents[1]
        path = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.url = f"{self._line()}/mirror"

    def _line(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def offer(self, folder: Path, name: str) -> None:
        """Have the files of a folder as the bundle of that name from now on."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps([str(folder), name]) + "\n")
        self._server.stdin.flush()
        assert self._line() == "ready"

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[Mirror]:
    """Import what commands need, keep them out of this machine's caches, and give a mirror."""
    for name in THREADS:
        os.environ[name] = "1"
    for name in ("DEEPSEG_LITE_REPO", "DEEPSEG_LITE_MIRROR", "HF_HUB_OFFLINE"):
        os.environ.pop(name, None)
    os.environ |= {"DEEPSEG_LITE_HOME": str(folder / "home"), "NO_PROXY": "127.0.0.1"}
    import deepseg_lite.api.cases
    import deepseg_lite.api.segmenter
    import deepseg_lite.cli.group
    import deepseg_lite.engines.onnxruntime_network
    import deepseg_lite.performance.plan.past_runs
    import deepseg_lite.store.fetch

    deepseg_lite.engines.onnxruntime_network.import_onnxruntime()
    mirror = Mirror()
    try:
        yield mirror
    finally:
        mirror.close()


def hidden(folder: Path) -> list[str]:
    """Return what nobody wants to find in a folder."""
    return [name for name in os.listdir(folder) if name.startswith(".")] if folder.is_dir() else []
