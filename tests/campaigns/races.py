"""Commands at once: one output, one cache, one bundle that is replaced and removed beside runs.

python tests/campaigns/races.py --rounds 20
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.bundles import make_data, write_bundle, write_image

from campaigns.commands import Command, Ended, Mirror, hidden, prepared

NAME = "tiny_threshold"
AT_ONCE = 8
START_S = 0.1  # after which all begin, so that all have been started


class Race:
    """Commands that begin at the same moment, in a fresh place."""

    def __init__(self, folder: Path, mirror: Mirror, seed: int) -> None:
        from deepseg_lite.store import cache

        self.rng = random.Random(seed)
        self.folder, self.mirror = folder, mirror
        self.out = folder / "out"
        self.target = cache.bundle_directory(NAME)
        self.model = write_bundle(folder / "model")
        self.images = [folder / f"image{number}.nii.gz" for number in range(AT_ONCE)]
        for number, image in enumerate(self.images):
            write_image(image, make_data(seed=number))
        self.new = write_bundle(folder / "new", version="2.0")
        mirror.offer(self.new, NAME)
        self.problems: list[str] = []
        self.figures: Counter[str] = Counter()

    def start(self, lines: Sequence[list[object]], *, within: float = 0.0) -> list[Ended]:
        """Run command lines at once, or each at a random moment of so many seconds."""
        from deepseg_lite.cli.group import main

        at = time.time() + START_S
        logs = [self.folder / f"log{number}" for number in range(len(lines))]
        commands = [
            Command(words, log, main, at + self.rng.uniform(0, within))
            for words, log in zip(lines, logs, strict=True)
        ]
        return [command.wait() for command in commands]

    def expect(self, *, that: bool, what: str) -> None:
        """Note what is wrong."""
        if not that:
            self.problems.append(what)

    def expect_winners(self, ended: Sequence[Ended], count: int, reason: str) -> None:
        """Note it if not so many succeeded, and the others gave one line with that reason."""
        winners = [one for one in ended if one.code == 0]
        self.expect(that=len(winners) == count, what=f"{len(winners)} succeeded: {ended}")
        for one in ended:
            if one.code != 0:
                is_clear = reason in one.err and one.err.count("\n") == 1 and one.code == 1
                self.expect(that=is_clear, what=f"no clear line: {one}")

    def expect_bundle(self, *, is_there: bool = True) -> None:
        """Note it if the bundle is not whole, or something is left beside it."""
        left = hidden(self.target.parent)
        self.expect(that=not left, what=f"left in the cache: {left}")
        self.expect(that=self.target.exists() == is_there, what="the bundle is there, or is not")
        for path in self.new.iterdir() if is_there else ():
            same = (self.target / path.name).read_bytes() == path.read_bytes()
            self.expect(that=same, what=f"{path.name} is another")

    def one_output(self, *options: str, count: int) -> None:
        """Segment another image in each process, all to one file."""
        shutil.rmtree(self.out, ignore_errors=True)
        how = ["-o", self.out / "x.nii.gz", "--device", "cpu", "--threads", 1, *options]
        ended = self.start([["run", self.model, "-i", image, *how] for image in self.images])
        self.expect_winners(ended, count, "exists")
        record = json.loads((self.out / "x.json").read_text())
        found = hashlib.sha256((self.out / "x.nii.gz").read_bytes()).hexdigest()
        self.expect(that=record["SHA256"] == {"x.nii.gz": found}, what="another run's record")
        names = sorted(path.name for path in self.out.iterdir())
        self.expect(that=names == ["x.json", "x.nii.gz"], what=f"left: {names}")

    def first_one_wins(self) -> None:
        """One of all succeeds where nothing may be replaced."""
        self.one_output(count=1)

    def last_one_wins(self) -> None:
        """All succeed with --overwrite, and the files are those of one of them."""
        self.one_output("--overwrite", count=AT_ONCE)

    def one_cache(self) -> None:
        """All fetch one bundle."""
        shutil.rmtree(self.target.parent, ignore_errors=True)
        fetch = ["fetch", NAME, "--mirror", self.mirror.url]
        self.expect_winners(self.start([fetch] * AT_ONCE), AT_ONCE, "")
        self.expect_bundle()

    def replaced_beside_runs(self) -> None:
        """Half of them replace the bundle while the others run it: all succeed."""
        self.one_cache()
        shutil.rmtree(self.out, ignore_errors=True)
        fetch = ["fetch", NAME, "--mirror", self.mirror.url, "--force"]
        ended = self.start([fetch] * (AT_ONCE // 2) + self._runs(AT_ONCE // 2), within=0.5)
        self.expect_winners(ended, AT_ONCE, "")
        self.expect_bundle()

    def removed_beside_runs(self) -> None:
        """One of half of them removes the bundle; a run beside it works or gives a clear line."""
        self.one_cache()
        shutil.rmtree(self.out, ignore_errors=True)
        half = AT_ONCE // 2
        ended = self.start([["remove", NAME]] * half + self._runs(half), within=0.5)
        self.expect_winners(ended[:half], 1, "nothing was removed")
        worked = sum(one.code == 0 for one in ended[half:])
        self.figures["runs that worked beside a removal"] += worked
        self.expect_winners(ended[half:], worked, NAME)
        self.expect_bundle(is_there=False)

    def _runs(self, count: int) -> list[list[object]]:
        return [
            [*("run", NAME, "-i", image, "-o", self.out), *("--device", "cpu", "--threads", 1)]
            for image in self.images[:count]
        ]


def main() -> int:
    """Run the campaign; exit code 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often each race is run")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="races-") as name, prepared(Path(name)) as mirror:
        race = Race(Path(name), mirror, given.seed)
        races: list[Callable[[], None]] = [
            race.first_one_wins,
            race.last_one_wins,
            race.one_cache,
            race.replaced_beside_runs,
            race.removed_beside_runs,
        ]
        for one in races:
            for _ in range(given.rounds):
                one()
            failed += len(race.problems)
            told = "".join(f", {number} {what}" for what, number in race.figures.items())
            print(f"{one.__name__}: {given.rounds} rounds, {len(race.problems)} problems{told}")
            for problem in race.problems:
                print(f"  {problem}")
            race.problems.clear()
            race.figures.clear()
    print(f"all: {failed} problems in {time.monotonic() - began:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
