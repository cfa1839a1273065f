"""A golden comparison: what users see of deepseg_lite, written once and compared later.

``python tests/whole/golden.py write REFERENCE.json`` runs the command lines and Python calls of the
modules beside this one and writes what they gave: exit codes, texts, records, and the SHA-256 of
every decompressed image. ``check REFERENCE.json`` runs them again and prints each difference.
``--data FOLDER`` names the folder of the real images, by default ``../shared/data``. ``--long``
also exports the one large network, which takes two minutes more.

The reference is for the machine and the packages that it was written with: hashes of float maps
are of their bytes, and another processor may round differently. No inner module of deepseg_lite or
deepseg_export is imported, so the comparison holds across moves of modules. Sections whose needs
are missing (torch, onnx, real images) are skipped and named; ``check`` compares the sections that
both sides have.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import golden_entries
import golden_export
import golden_images
import golden_python
from golden_entries import Entries
from golden_running import (
    Place,
    environment,
    load_heavy_libraries,
    program_of,
    run_entry,
    serve,
)
from golden_texts import Normalizer

PACKAGES = (
    "numpy",
    "scipy",
    "nibabel",
    "onnxruntime",
    "openvino",
    "onnx",
    "torch",
    "monai",
    "click",
)
LACKING, MOST = "(nothing)", 6000
"""What stands for a missing value, and how much of a value is printed."""
REPOSITORY = Path(__file__).resolve().parents[2]


def sections(work: Path, data: Path, *, long: bool) -> dict[str, Callable[[], Entries]]:
    """Return the entries of each section that can run here; say which cannot."""
    entries = golden_entries
    images = work / "i"
    made: dict[str, Any] = {
        "texts": entries.texts,
        "wrong": entries.wrong,
        "bundles": entries.bundles,
        "spine": entries.spine,
        "store": entries.store,
        "phantom": lambda: entries.shipped("phantom.nii.gz", "phantom_short.nii.gz"),
    }
    real = data / golden_images.REAL
    if real.is_file():
        shutil.copyfile(real, images / "real.nii.gz")
        golden_images.cut(real, images / "real_short.nii.gz", 5)
        made["real"] = lambda: entries.shipped("real.nii.gz", "real_short.nii.gz")
    else:
        print(f"skipped: real images, {data} has none")
    if importlib.util.find_spec("onnx"):
        golden_images.write_convolutions(work / "b")
        made["convolutions"] = entries.convolutions
    else:
        print("skipped: convolutions, onnx is not installed")
    (work / "m").mkdir()
    if all(map(importlib.util.find_spec, ("torch", "monai", "onnxscript"))):
        program = [sys.executable, golden_export.__file__, str(work / "m"), "long" * long]
        subprocess.run(program, check=True, env=environment(work / "home"))
        made["export"] = golden_export.entries
        if long:
            made["long export"] = golden_export.long_entries
    else:
        print("skipped: export, torch, monai or onnxscript is not installed")
    return dict(reversed(made.items()))  # the longest first


def collect(data: Path, *, long: bool) -> dict[str, Any]:
    """Run everything; return the document of a reference."""
    import deepseg_lite

    load_heavy_libraries()
    with tempfile.TemporaryDirectory(prefix="golden_") as name:
        work = Path(name).resolve()
        golden_images.write_all(work)
        phantom, home = work / "i" / "phantom.nii.gz", work / "home"
        program = [*program_of("lite"), "phantom", str(phantom)]
        subprocess.run(program, check=True, env=environment(home), stdout=subprocess.DEVNULL)
        golden_images.cut(phantom, work / "i" / "phantom_short.nii.gz", 3)
        made = sections(work, data, long=long)
        jobs = {(part, key): lines for part, of in made.items() for key, lines in of().items()}
        with serve(work / "b") as url, ThreadPoolExecutor(2) as pool:
            package = Path(deepseg_lite.__file__).resolve().parents[1]
            normalize = Normalizer({url: "URL", str(work): "WORK", str(package): "PACKAGE"})
            ran = [
                pool.submit(run_entry, lines, Place(work, number), url, normalize)
                for number, lines in enumerate(jobs.values())
            ]
            found: dict[str, Any] = {part: {} for part in made}
            for (part, key), future in zip(jobs, ran, strict=True):
                found[part][key] = future.result()
        os.environ.update(environment(home))
        found["python"] = normalize.value(golden_python.results(work))
    return {"made with": versions(), "sections": found}


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        if importlib.util.find_spec(name):
            found[name] = metadata.version(name)
    return found


def differences(old: Any, new: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the place of each difference, with both values; what one side lacks is one."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from differences(old.get(key, LACKING), new.get(key, LACKING), f"{place} > {key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, two) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, two, f"{place}[{index}]")
    elif old != new:
        yield place, old, new


def compare(old: dict[str, Any], new: dict[str, Any]) -> int:
    """Print the differences of two references; return how many entries differ."""
    for name in sorted(old["made with"].keys() | new["made with"].keys()):
        before, after = (side["made with"].get(name) for side in (old, new))
        if before != after:
            print(f"note: {name} was {before} and is {after}")
    compared = differ = 0
    for part in sorted(old["sections"].keys() | new["sections"].keys()):
        before, after = (side["sections"].get(part) for side in (old, new))
        if before is None or after is None:
            print(f"skipped: {part}, {'the reference' if before is None else 'this run'} lacks it")
            continue
        for name in sorted(before.keys() | after.keys()):
            compared += 1
            sides = before.get(name, LACKING), after.get(name, LACKING)
            found = list(differences(*sides, f"{part} > {name}"))
            differ += bool(found)
            for place, one, two in found:
                print(place)
                for sign, value in (("-", one), ("+", two)):
                    text = value if isinstance(value, str) else json.dumps(value)
                    print(f"  {sign} " + text.replace("\n", "\n    ")[:MOST])
    print(f"{compared} compared, {differ} differ")
    return differ


def main() -> int:
    """Write or check a reference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["write", "check"])
    parser.add_argument("reference", type=Path)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--long", action="store_true", help="Also export a large network.")
    given = parser.parse_args()
    old = json.loads(given.reference.read_text("utf-8")) if given.action == "check" else None
    start = time.monotonic()
    found = json.loads(json.dumps(collect(given.data.resolve(), long=given.long)))
    seconds = time.monotonic() - start
    if old is not None:
        return 1 if compare(old, found) else 0
    text = json.dumps(found, indent=0, ensure_ascii=False, sort_keys=False)
    given.reference.write_text(text + "\n", "utf-8")
    counts = {part: len(entries) for part, entries in found["sections"].items()}
    print(f"{sum(counts.values())} entries in {seconds:.0f} s: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
