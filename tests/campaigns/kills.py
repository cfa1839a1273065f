"""Commands that are killed at random moments: nothing in part, nothing lost, nothing left.

    python tests/campaigns/kills.py --count 200 --seed 1

A third of the kills each come at any moment of a command's life, while it writes, and when the
first of its files gets its final name.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.bundles import make_data, write_bundle, write_image

from campaigns.commands import SIGNALS, Command, Ended, Mirror, hidden, prepared

NAME = "tiny_threshold"
WRITING_S = 0.03  # longer than it takes to write a case
WAIT_S = 120  # for a command that never writes
CODES = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 1}
Files = dict[str, bytes]
Figures = Counter[str]


def read(folder: Path) -> Files:
    """Return the files of a folder that have final names."""
    if not folder.is_dir():
        return {}
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


class Scene:
    """Command, what is there before it, and what may be there after it."""

    watched: Path

    def set_up(self) -> list[object]:
        """Make what is there before; return the command line."""
        raise NotImplementedError

    def after_kill(self, figures: Figures, *, is_signal: bool) -> Iterator[str]:
        """Yield what is wrong with what is there."""
        raise NotImplementedError

    def after_next(self, run: Callable[..., Ended]) -> Iterator[str]:
        """Run the next command, and yield what is wrong then."""
        raise NotImplementedError

    def main(self) -> None:
        """Be the command line."""
        from deepseg_lite.cli.group import main

        main()


class Segmenting(Scene):
    """Cases that are segmented, into an empty folder or over the results of another model."""

    def __init__(self, folder: Path, count: int, *, soft: bool, overwrite: bool) -> None:
        self.folder, self.overwrite = folder, overwrite
        self.watched = folder / "out"
        folder.mkdir()
        kind, other = ("regions", "regions") if soft else ("threshold", "folds")
        changes = {"mirror_axes": []} if soft else {}
        models = [
            write_bundle(folder / "new", kind),
            write_bundle(folder / "old", other, **changes),
        ]
        images = [folder / f"{number}.nii.gz" for number in range(count)]
        for number, image in enumerate(images):
            write_image(image, make_data(seed=number))
        given = [word for image in images for word in ("-i", image)]
        options = ["--soft"] if soft else []
        self.words, self._old_words = (
            ["run", model, *given, "-o", self.watched, "--device", "cpu", "--threads", 1, *options]
            for model in models
        )
        self.old = self._result(self._old_words)
        self.new = self._result(self.words)
        if soft:  # the same networks, so that old and new differ in their records alone
            assert self.old.keys() == self.new.keys()

    def _result(self, words: list[object]) -> Files:
        shutil.rmtree(self.watched, ignore_errors=True)
        ended = Command(words, self.folder / "reference", self.main).wait()
        assert ended.code == 0, ended
        return read(self.watched)

    def set_up(self) -> list[object]:
        shutil.rmtree(self.watched, ignore_errors=True)
        self.watched.mkdir()
        if not self.overwrite:
            return self.words
        for name, data in self.old.items():
            (self.watched / name).write_bytes(data)
        return [*self.words, "--overwrite"]

    def after_kill(self, figures: Figures, *, is_signal: bool) -> Iterator[str]:
        files = read(self.watched)
        for name in files.keys() - self.new.keys():
            yield f"{name} is no file of a case"
        for name, data in files.items():
            if name.endswith(".json"):
                record = json.loads(data)
                sums = {n: hashlib.sha256(files.get(n, b"")).hexdigest() for n in record["SHA256"]}
                if sums != record["SHA256"]:
                    yield f"{name} is the record of other images"
            elif data not in (self.old[name], self.new[name]):
                yield f"{name} is there in part"
        half = self._half(files)
        figures["half sets"] += len(half)
        if half and is_signal:
            yield f"half sets after a signal: {sorted(half)}"

    def _half(self, files: Files) -> set[str]:
        """Return the cases that have some of their files and not others."""
        cases: dict[str, set[str]] = {}
        for name in self.new:
            cases.setdefault(name.partition("_")[0], set()).add(name)
        return {case for case, names in cases.items() if 0 < len(names & files.keys()) < len(names)}

    def after_next(self, run: Callable[..., Ended]) -> Iterator[str]:
        words = [*self.words, "--overwrite"] if self.overwrite else self.words
        ended = run(words)
        files = read(self.watched)
        if ended.code == 1 and not self.overwrite and "exists" in ended.err:
            if not files or self._half(files):
                yield f"half a case counts as finished: {sorted(files)}"
            ended = run([*words, "--overwrite"])
        if ended.code != 0:
            yield f"the next run ended with {ended}"
        files = read(self.watched)
        if files.keys() != self.new.keys():
            yield f"the next run left {sorted(files)}"
        for name, data in self.new.items():
            if not name.endswith(".json") and files.get(name) != data:
                yield f"the next run gives another {name}"


class Fetching(Scene):
    """A bundle on its way into the cache, or out of it."""

    def __init__(self, folder: Path, mirror: Mirror, command: str) -> None:
        from deepseg_lite.store import cache

        folder.mkdir()
        self.command, self.url = command, mirror.url
        self.target = cache.bundle_directory(NAME)
        self.watched = self.target.parent
        self.old_folder = write_bundle(folder / "old", version="1.0")
        new = write_bundle(folder / "new", version="2.0")
        for version, made in (("1.0", self.old_folder), ("2.0", new)):
            (made / "README.md").write_text(f"# {version}\n")
        self.old, self.new = read(self.old_folder), read(new)
        mirror.offer(new, NAME)

    def set_up(self) -> list[object]:
        shutil.rmtree(self.watched, ignore_errors=True)
        self.watched.mkdir(parents=True)
        if self.command != "fetch":
            shutil.copytree(self.old_folder, self.target)
        if self.command == "remove":
            return ["remove", NAME]
        force = ["--force", "--repin"] if self.command == "fetch --force" else []
        return ["fetch", NAME, "--mirror", self.url, *force]

    def after_kill(self, figures: Figures, *, is_signal: bool) -> Iterator[str]:
        from deepseg_lite.store import cache

        if not self.target.exists():
            figures["gone at the moment"] += 1
            if self.command == "fetch --force" and cache.locate(NAME) is None:
                yield "neither the old bundle nor the new one is there"
        files = read(self.target)
        files.pop("source.json", None)
        if files not in ({}, self.old, self.new):
            yield f"a bundle is there in part: {sorted(files)}"

    def after_next(self, run: Callable[..., Ended]) -> Iterator[str]:
        expected = self.new
        fetch = ["fetch", NAME, "--mirror", self.url]
        if self.command == "remove":
            was_there = self.target.exists()
            ended = run(["remove", NAME])
            if (ended.code == 0) != was_there or self.target.exists():
                yield f"the next remove ended with {ended}"
        elif self.command == "fetch --force":
            fetch += ["--force", "--repin"]
        ended = run(fetch)
        if ended.code != 0:
            yield f"the next fetch ended with {ended}"
        files = read(self.target)
        files.pop("source.json", None)
        if files != expected:
            yield f"the next fetch left {sorted(files)}"


class Exporting(Scene):
    """A model that is exported, to an empty folder or over another bundle."""

    def __init__(self, folder: Path, *, force: bool) -> None:
        from helpers.nnunet_models import write_model

        folder.mkdir()
        self.watched, self.force = folder / "out", force
        self.target = self.watched / "bundle"
        pid = os.fork()  # so that torch computes nothing in this process before it forks
        if pid == 0:
            write_model(folder / "models")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        (model,) = (folder / "models").iterdir()
        self.words = ["nnunet", model, "-o", self.target, "--folds", "0"]
        self.old_folder = write_bundle(folder / "old")
        self.old = read(self.old_folder)
        self.watched.mkdir()
        ended = Command(self.words, folder / "reference", self.main).wait()
        assert ended.code == 0, ended
        self.new = read(self.target)

    def main(self) -> None:
        from deepseg_export.cli.group import main

        main()

    def set_up(self) -> list[object]:
        shutil.rmtree(self.watched)
        self.watched.mkdir()
        if not self.force:
            return self.words
        shutil.copytree(self.old_folder, self.target)
        return [*self.words, "--force"]

    def after_kill(self, figures: Figures, *, is_signal: bool) -> Iterator[str]:
        files = read(self.target)
        if not files and self.force:
            figures["gone at the moment"] += 1
        if files and files != self.old and files.keys() != self.new.keys():
            yield f"a bundle is there in part: {sorted(files)}"

    def after_next(self, run: Callable[..., Ended]) -> Iterator[str]:
        ended = run([*self.words, "--force"])
        files = read(self.target)
        if ended.code != 0 or files.keys() != self.new.keys():
            yield f"the next export ended with {ended} and left {sorted(files)}"
        for name, data in self.new.items():
            if name.endswith(".onnx") and files.get(name) != data:
                yield f"the next export gives another {name}"


def kill(scene: Scene, log: Path, number: int, rng: random.Random, duration: float) -> Ended:
    """Run a scene's command and send it a signal: at any moment, when it writes, or places."""
    words = scene.set_up()
    before = names(scene.watched)
    command = Command(words, log, scene.main)
    moment = rng.choice(("any", "writing", "placing"))
    if moment == "any":
        time.sleep(rng.uniform(0, duration))
    else:
        began = time.monotonic()
        while not command.is_done() and time.monotonic() - began < WAIT_S:
            if hidden(scene.watched) and moment == "writing":
                time.sleep(rng.uniform(0, WRITING_S))
                break
            if names(scene.watched) != before:
                break
    command.send(number)
    return command.wait()


def names(folder: Path) -> set[str]:
    """Return the final names in a folder."""
    there = os.listdir(folder) if folder.is_dir() else []
    return {name for name in there if not name.startswith(".")}


def campaign(
    scene: Scene, count: int, rng: random.Random, folder: Path
) -> tuple[Figures, list[str]]:
    """Kill a scene's command so many times; return figures and problems."""
    figures: Figures = Counter()
    problems: list[str] = []
    log = folder / "command"

    def run(words: list[object]) -> Ended:
        return Command(words, log, scene.main).wait()

    began = time.monotonic()
    ended = run(scene.set_up())
    duration = time.monotonic() - began
    assert ended.code == 0, ended
    for index in range(count):
        number = SIGNALS[index % len(SIGNALS)]
        ended = kill(scene, log, number, rng, duration)
        figures["ended before"] += ended.code == 0
        if ended.code not in (0, -number, CODES.get(number)):
            problems.append(f"ended with {ended}")
        left = hidden(scene.watched)
        figures["left by kill -9"] += bool(left) and number == signal.SIGKILL
        figures["left by other signals"] += bool(left) and number != signal.SIGKILL
        is_signal = number != signal.SIGKILL and ended.code != 0
        problems += scene.after_kill(figures, is_signal=is_signal)
        problems += scene.after_next(run)
        if left := hidden(scene.watched):
            problems.append(f"the next run swept not: {left}")
    return figures, problems


def scenes(folder: Path, mirror: Mirror) -> dict[str, tuple[int, Callable[[], Scene]]]:
    """Return what is killed, and in what shares."""
    cases = partial(Segmenting, soft=False, overwrite=False)
    return {
        "run": (3, partial(cases, folder / "run", 1)),
        "run --overwrite": (3, partial(cases, folder / "again", 1, overwrite=True)),
        "run --soft": (3, partial(cases, folder / "soft", 1, soft=True, overwrite=True)),
        "run, 4 cases": (3, partial(cases, folder / "batch", 4)),
        "fetch": (3, partial(Fetching, folder / "fetch", mirror, "fetch")),
        "fetch --force": (3, partial(Fetching, folder / "force", mirror, "fetch --force")),
        "remove": (2, partial(Fetching, folder / "remove", mirror, "remove")),
    }


def main() -> int:
    """Run the campaign; exit code 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="kills, shared by the commands")
    parser.add_argument("--exports", type=int, default=0, help="further kills of exports")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    totals, failed = Counter[str](), 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as name, prepared(Path(name)) as mirror:
        folder = Path(name)
        table = scenes(folder, mirror)
        whole = sum(share for share, _ in table.values())
        counts = [given.count * share // whole for share, _ in table.values()]
        counts[0] += given.count - sum(counts)
        plan = [(kind, n, make) for (kind, (_, make)), n in zip(table.items(), counts, strict=True)]
        if given.exports and importlib.util.find_spec("torch"):
            importlib.import_module("deepseg_export.exporting")
            importlib.import_module("torch")
            once = given.exports // 2
            for n, force in ((given.exports - once, False), (once, True)):
                kind = "export --force" if force else "export"
                plan.append((kind, n, partial(Exporting, folder / kind, force=force)))
        for kind, count, make in plan:
            if not count:
                continue
            figures, problems = campaign(make(), count, rng, folder)
            totals += figures
            failed += len(problems)
            told = ", ".join(f"{number} {what}" for what, number in figures.items() if number)
            print(f"{kind}: {count} kills, {len(problems)} problems; {told}", flush=True)
            for problem in problems:
                print(f"  {problem}")
    told = ", ".join(f"{number} {what}" for what, number in totals.items() if number)
    seconds = time.monotonic() - began
    print(f"all: {failed} problems in {seconds:.0f} s; {told}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
