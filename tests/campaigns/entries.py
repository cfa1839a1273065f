"""Entries of quality control, written by many processes into one folder while its page is made.

python tests/campaigns/entries.py --processes 16 --count 300

None may be lost or there in part, and the page must be what one process alone would make of it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.entries import add_many

from deepseg_lite.errors import OptionError
from deepseg_lite.qc.report import build_page


def fill(folder: Path, processes: int, count: int) -> int:
    """Write entries in processes, and return how often the page was made meanwhile."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=add_many, args=(str(folder), number, count))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    pages = 0
    while any(worker.is_alive() for worker in workers):
        try:
            build_page(folder)
            pages += 1
        except OptionError:
            pass  # no entry yet
        time.sleep(0.2)
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise SystemExit(f"a process ended with {worker.exitcode}")
    return pages


def shown(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of a page, without what no two runs have alike: ids and times."""
    build_page(folder)
    text = (folder / "js" / "datasets.js").read_text(encoding="utf-8")
    entries = json.loads(text.split("window.SCT_QC_DATASETS = ")[1].rstrip().rstrip(";"))
    for entry in entries:
        name = entry.pop("id")
        entry["date"] = ""
        for key in ("backgroundImage", "overlayImage", "measures"):
            if not (folder / entry[key]).is_file():
                raise SystemExit(f"{entry[key]} is missing")
            entry[key] = entry[key].replace(name, "")
        for picture in entry["pictures"].values():
            picture["folder"] = picture["folder"].replace(name, "")
    return entries


def problems(processes: int, count: int, work: Path) -> tuple[list[str], int]:
    """Return what is wrong, and how often the page was made meanwhile."""
    many, alone = work / "many", work / "alone"
    pages = fill(many, processes, count)
    for number in reversed(range(processes)):
        add_many(str(alone), number, count)
    found, expected = shown(many), shown(alone)
    wrong = []
    names = [entry["subject"] for entry in found]
    if names != [f"sub-{n:02}-{i:03}" for n in range(processes) for i in range(count)]:
        wrong.append(f"{len(set(names))} of {processes * count} entries are on the page")
    if found != expected:
        wrong.append("the page depends on the order in which entries were written")
    if left := list((many / "_json").glob(".*")):
        wrong.append(f"{len(left)} files are left")
    return wrong, pages


def main() -> None:
    """Print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--count", type=int, default=300, help="Entries of each.")
    given = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        wrong, pages = problems(given.processes, given.count, Path(work))
    for line in wrong:
        print(line)
    print(
        f"{given.processes} x {given.count} entries, the page made {pages} times meanwhile, "
        f"{time.perf_counter() - started:.0f} s; all: {len(wrong)} problems"
    )
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
