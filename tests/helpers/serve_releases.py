"""Run a command while a folder of official archives is served on loopback.

``python tests/helpers/serve_releases.py FOLDER COMMAND [WORD ...]``: in the command's environment
``DEEPSEG_LITE_RELEASES`` is the address of FOLDER, as `releases` fills it: TASK/RELEASE/ARCHIVE.
The programs beside this Python come first. Nothing else is reached: the proxy of all other
addresses is a port where nobody listens.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NOBODY = "http://127.0.0.1:9"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Serve a folder; give the variables with which its files are the official ones."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield {
                "DEEPSEG_LITE_RELEASES": f"http://127.0.0.1:{server.server_address[1]}",
                **dict.fromkeys(("http_proxy", "https_proxy"), NOBODY),
                **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1"),
            }
        finally:
            server.shutdown()


def main() -> int:
    """Do what the command line asks for; the exit code is the command's."""
    folder, *command = sys.argv[1:]
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with served(Path(folder)) as variables:
        environment = {**os.environ, **variables, "PATH": programs}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
