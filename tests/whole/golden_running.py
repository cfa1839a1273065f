"""Running the golden comparison's command lines, each entry in a folder of its own."""

from __future__ import annotations

import contextlib
import http.server
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from golden_texts import Normalizer

COMMANDS = {"lite": "deepseg-lite", "export": "deepseg-export"}
HEAVY = ["numpy", "scipy.ndimage", "nibabel", "onnxruntime", "jsonschema", "click"]
"""Libraries that are loaded once and not for every command line."""
FORKED = ("run", "plan", "info", "fetch", "remove", "phantom")
"""Commands of deepseg-lite that need them; all others are run as programs of their own."""
OWN_HOME = ("--mirror", "--max-ram", "export ", "lite bench")
"""Words of entries that write to the cache."""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Place(NamedTuple):
    """The folder of everything, and the folder of the number's entry in it."""

    work: Path
    number: int


def environment(home: Path) -> dict[str, str]:
    """Return an environment that knows nothing of this machine's caches and settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DEEPSEG_", "HF_", "PYTHON", "OMP_", "COLUMNS"))
    }
    home.mkdir(parents=True, exist_ok=True)
    return {
        **kept,
        **dict.fromkeys(("HOME", "DEEPSEG_LITE_HOME", "XDG_CACHE_HOME", "HF_HOME"), str(home)),
        **{"COLUMNS": "100", "LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": ""},
        **dict.fromkeys(ONE_THREAD, "1"),  # also of torch: threads of several programs wait
        **{"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
        **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1"),
    }


def words_of(line: str, url: str = "") -> list[str]:
    """Return the words of a command line after the program's name; URL becomes ``url``."""
    words = [url if word == "URL" else word for word in line.split()[1:]]
    if words[:1] and words[0] in ("run", "plan", "bench") and not {"-h", "--help"} & {*words}:
        words += [] if "--device" in words else ["--device", "cpu"]
        words += ["--threads", "1"]
    return words


def program_of(line: str) -> list[str]:
    """Return what starts the program of a command line: its script beside Python."""
    return [str(Path(sys.executable).parent / COMMANDS[line.split()[0]])]


def load_heavy_libraries() -> None:
    """Start the process that command lines are forked from."""
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    multiprocessing.set_start_method("forkserver")
    multiprocessing.set_forkserver_preload([__name__, *HEAVY])


def _be_the_command(words: list[str], folder: Path, env: dict[str, str], streams: Path) -> None:
    """Run ``deepseg-lite`` in this forked process, its streams and exit code in files."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for number, mode in ((1, "out"), (2, "err")):
        with streams.with_suffix(f".{mode}").open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.argv = ["deepseg-lite", *words]
    (script,) = metadata.entry_points(group="console_scripts", name="deepseg-lite")
    code: Any = 0
    try:
        script.load()()
    except SystemExit as ended:
        code = ended.code or 0
    streams.with_suffix(".code").write_text(str(code))


def run_line(line: str, folder: Path, home: Path, url: str) -> tuple[int, str, str]:
    """Run a command line; return its exit code and both streams."""
    words, env = words_of(line, url), environment(home)
    if "URL" in line:
        del env["HF_HUB_OFFLINE"]
    if not (line.startswith("lite") and words[:1] and words[0] in FORKED) or "-h" in words:
        done = subprocess.run(
            [*program_of(line), *words],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr
    streams = folder.with_suffix(".streams")
    process = multiprocessing.Process(target=_be_the_command, args=(words, folder, env, streams))
    process.start()
    process.join()
    # Not process.exitcode: multiprocessing loses some where several threads start processes.
    code = streams.with_suffix(".code")
    ended = int(code.read_text()) if code.exists() else -1
    code.unlink(missing_ok=True)
    files = [streams.with_suffix(f".{mode}") for mode in ("out", "err")]
    texts = [file.read_text("utf-8") for file in files]
    for file in files:
        file.unlink()
    return ended, texts[0], texts[1]


def run_entry(lines: list[str], place: Place, url: str, normalize: Normalizer) -> dict[str, Any]:
    """Run an entry in a folder of its own; return what it printed and wrote."""
    work, folder = place.work, place.work / "runs" / str(place.number)
    folder.mkdir(parents=True)
    for name in ("b", "m"):
        (folder / name).symlink_to(work / name, target_is_directory=True)
    text = " ".join(lines)
    given = {}
    for word in text.split():
        source = work / "i" / word
        if source.is_file():
            shutil.copy(source, folder / word)
            given[word] = source.read_bytes()
    own = any(word in text for word in OWN_HOME)
    shared = "planning" if "lite plan" in text else "home"  # runs teach later plans
    home = folder / ".home" if own else work / shared
    found: dict[str, Any] = {}
    for count, line in enumerate(lines):
        code, out, err = run_line(line, folder, home, url)
        out, err = (text.replace(str(folder), "HERE") for text in (out, err))
        out, err = normalize.output(out, line), normalize.text(err, line)
        found[f"{count}: {line}"] = {"code": code, "out": out, "err": err}
    files = {}
    for file in sorted(_written(folder)):
        name = file.relative_to(folder).as_posix()
        if given.get(name) != file.read_bytes():
            files[name] = normalize.file(file)
    shutil.rmtree(folder)
    return {**found, "files": files}


def _written(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; of the home in it, those of the bundles."""
    for path in folder.iterdir():
        path = path / "bundles" if path.name == ".home" else path
        if path.is_dir() and not path.is_symlink():
            yield from _written(path)
        elif path.is_file():
            yield path


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Give the address of a server of a folder."""

    def handler(*arguments: Any) -> _Handler:
        return _Handler(*arguments, directory=str(folder))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
