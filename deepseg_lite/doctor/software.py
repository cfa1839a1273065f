"""Software: Python, this package, and the packages that it needs or may use."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from deepseg_lite.doctor.finding import Finding, note, ok, problem
from deepseg_lite.doctor.probe import ask
from deepseg_lite.versions import canonical, fits, parse_requirement

PACKAGE = "deepseg-lite"
_RUNTIME = "onnxruntime"
_BUILDS = (_RUNTIME, "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
_LOADED = ("numpy", "scipy", "nibabel", "jsonschema")
"""Packages that every run loads."""


@dataclass(frozen=True)
class Installed:
    """An installed package: its name as `canonical` has it, its version, and its folder.

    ``is_runtime`` is whether it is a build of ONNX Runtime, which all own the same files.
    """

    name: str
    version: str
    folder: str
    is_runtime: bool


def installed_packages() -> list[Installed]:
    """Return the packages that Python finds here, in the order in which it does.

    One whose record cannot be read has no name.
    """
    return list(dict.fromkeys(map(_read, metadata.distributions())))


def _read(record: metadata.Distribution) -> Installed:
    folder = str(record.locate_file(""))
    try:
        name = canonical(record.metadata["Name"] or "")
        is_runtime = name in _BUILDS or (
            name.startswith(_RUNTIME) and f"{_RUNTIME}/__init__.py" in map(str, record.files or ())
        )
        return Installed(name, str(record.version), folder, is_runtime)
    except Exception:  # whatever there is in place of a record
        return Installed("", "", folder, is_runtime=False)


def check_python() -> Iterator[Finding]:
    """Check the interpreter, and say where this package is."""
    python = f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})"
    if sys.implementation.name == "cpython":
        yield ok("Python", python)
    else:
        yield note(
            "Python", python, "Nothing was tried but CPython; use that where something fails."
        )
    where = Path(str(files("deepseg_lite")))
    try:
        yield ok(PACKAGE, f"{metadata.version(PACKAGE)} ({where})")
    except metadata.PackageNotFoundError:
        yield problem(
            PACKAGE,
            f"{where} is not an installed package, so its version is not known",
            f'Run pip install "{PACKAGE}[cpu]", or pip install -e . in a clone.',
        )


def check_requirements() -> Iterator[Finding]:
    """Check that every package that this one asks for is here, in a version that it asks for.

    Packages of extras may be absent; where they are here, their versions count, too.
    """
    here = {each.name: each for each in reversed(installed_packages())}
    told = set()
    for name, allowed, marker in _requirements():
        each, is_extra = here.get(name), "extra" in marker
        is_meant = not marker or (is_extra and each is not None and "test" not in marker)
        if name in told or not is_meant:
            continue
        told.add(name)
        cure = f'Run pip install "{name}{allowed}".'
        if each is None:
            yield problem(name, "is not installed", cure)
        elif not fits(each.version, _without_exclusions(allowed)):
            yield problem(name, f"{each.version}, and {allowed} is needed", cure)
        else:
            yield ok(name, each.version)


def _requirements() -> list[tuple[str, str, str]]:
    try:
        lines = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        lines = list(_LOADED)
    return [parse_requirement(line) for line in lines]


def _without_exclusions(allowed: str) -> str:
    """Return versions without those left out, which `check_known` tells with their reasons."""
    return ",".join(part for part in allowed.split(",") if not part.strip().startswith("!="))


def check_duplicates(packages: Iterable[Installed] | None = None) -> Iterator[Finding]:
    """Check that no package is here twice, and ONNX Runtime in one build alone."""
    found = list(installed_packages() if packages is None else packages)
    builds = sorted({each.name for each in found if each.is_runtime})
    if len(builds) > 1:
        yield problem(
            "ONNX Runtime",
            f"{' and '.join(builds)} are both installed and overwrite each other's files "
            "(github.com/microsoft/onnxruntime/issues/26996)",
            f'Run pip uninstall -y {" ".join(builds)}, then pip install "{PACKAGE}[cpu]" or '
            f'"{PACKAGE}[gpu]".',
        )
    for folder in {each.folder for each in found if not each.name}:
        yield note(
            "packages",
            f"{folder} has a package whose record cannot be read",
            "Run pip check, and install again what it names.",
        )
    seen: dict[str, Installed] = {}
    for each in filter(lambda each: each.name, found):
        first = seen.setdefault(each.name, each)
        if first is each or each.name == PACKAGE:
            continue
        if first.folder == each.folder:
            yield problem(
                each.name,
                f"{first.version} and {each.version} lie in one folder, {each.folder}",
                f"Run pip uninstall -y {each.name} until none is left, then pip install it again.",
            )
        elif first.version != each.version:
            yield note(
                each.name,
                f"{first.version} of {first.folder} hides {each.version} of {each.folder}",
                "Use an environment of its own (python3 -m venv) without PYTHONPATH.",
            )


def check_known(packages: Iterable[Installed] | None = None) -> Iterator[Finding]:
    """Check for versions that are known to misbehave, as ``known.json`` lists them."""
    for each in installed_packages() if packages is None else packages:
        for entry in known_versions():
            if each.name in entry["packages"] and fits(each.version, entry["versions"]):
                text = f"{each.version} {entry['what']} ({entry['source']})"
                others = entry["versions"].replace("==", "!=")
                yield Finding(
                    entry["level"], each.name, text, f'Run pip install "{each.name}{others}".'
                )


def known_versions() -> list[Mapping[str, Any]]:
    """Return the versions that are known to misbehave: packages, versions, what, source, level."""
    text = files("deepseg_lite.doctor").joinpath("known.json").read_text(encoding="utf-8")
    entries: list[Mapping[str, Any]] = json.loads(text)
    return entries


def check_loading() -> Iterator[Finding]:
    """Load the packages that every run loads, in a process of their own."""
    if "error" not in ask("packages", ",".join(_LOADED)):
        return
    for name in _LOADED:
        answer = ask("packages", name)
        if "error" in answer:
            yield problem(
                name,
                f"cannot be loaded: {answer['error']}",
                f"Run pip install --force-reinstall {name}.",
            )
