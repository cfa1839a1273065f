"""Wheels of a kit: this package's own, and those that it needs, in the versions that are here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from deepseg_lite.errors import OptionError
from deepseg_lite.text import one_line, shortened
from deepseg_lite.versions import canonical, parse_requirement

PACKAGE = "deepseg-lite"
_OF_INSTALLING = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")
_MANYLINUX = re.compile(r"(many|musl)linux_(\d+)_(\d+)_(\w+)")
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_NONE = re.compile(
    r"no matching distributions available for your environment:\n((?: {4}\S+\n)+)"
    r"|No matching distribution found for ([^\s(]+)"
)
_ERROR = re.compile(r"^ERROR: (.*)", re.MULTILINE)


def own_wheel(folder: Path) -> Path:
    """Make the wheel of this package: of the clone that it is installed from, or of its files.

    Parameters
    ----------
    folder : Path
        Takes the wheel.

    Raises
    ------
    OptionError
        If it is not installed, or its clone is gone or cannot be built.
    """
    try:
        found = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise OptionError(
            "deepseg-lite is not installed as a package; give its `wheel`, or install it."
        ) from None
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return wheel_of(found, folder)
    run_pip("wheel", "--no-deps", "--wheel-dir", str(folder), origin["url"])
    return next(folder.glob("deepseg_lite-*.whl"))


def wheel_of(found: metadata.Distribution, folder: Path) -> Path:
    """Make a wheel of the files of an installed package.

    Parameters
    ----------
    found : Distribution
        Package that pip installed from a wheel.
    folder : Path
        Takes the wheel.
    """
    info = next(file.parent.as_posix() for file in found.files or () if file.name == "METADATA")
    tags = re.findall(r"^Tag: (\S+)", found.read_text("WHEEL") or "", re.MULTILINE)
    parts = [sorted(set(part)) for part in zip(*(tag.split("-") for tag in tags), strict=True)]
    name = f"{info.removesuffix('.dist-info')}-{'-'.join('.'.join(part) for part in parts)}.whl"
    records = []
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in found.files or ():
            is_made = file.parent.as_posix() == info and file.name in _OF_INSTALLING
            if is_made or ".." in file.parts or "__pycache__" in file.parts:
                continue
            data = Path(str(found.locate_file(file))).read_bytes()
            archive.writestr(file.as_posix(), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{file.as_posix()},sha256={digest},{len(data)}\n")
        archive.writestr(f"{info}/RECORD", "".join([*records, f"{info}/RECORD,,\n"]))
    return folder / name


def extras_here() -> list[str]:
    """Return the extras that bring the engines that are installed here."""
    names = {canonical(str(each.metadata["Name"] or "")) for each in metadata.distributions()}
    engine = "gpu" if "onnxruntime-gpu" in names else "cpu"
    return [engine, *(["openvino"] if "openvino" in names else [])]


def with_extras(package: str, extras: Sequence[str]) -> str:
    """Return a requirement of a package with extras, if there are any."""
    return f"{package}[{','.join(extras)}]" if extras else package


def download(
    wheel: Path, extras: Sequence[str], folder: Path, platforms: Sequence[str], python: str | None
) -> None:
    """Download what a wheel needs, in the versions that are installed here.

    pip decides by this computer what is needed where a requirement depends on the system. For
    another one, all such requirements come along that have a wheel for it.

    Parameters
    ----------
    wheel : Path
        Wheel of this package, in ``folder``.
    extras : sequence of str
        Extras of it.
    folder : Path
        Takes the wheels.
    platforms : sequence of str
        Tags of the system that they are for; empty for this one.
    python : str or None
        Version of Python that they are for; None for this one.

    Raises
    ------
    OptionError
        If there is no such extra, or pip finds no wheel for that system.
    """
    known = _said_of(wheel, "Provides-Extra")
    if unknown := [extra for extra in extras if extra not in known]:
        raise OptionError(
            f"there is no extra {unknown[0]}; there are {', '.join(known) or 'none'}."
        )
    common = ["download", "--only-binary", ":all:", "--dest", str(folder)]
    for tag in (each for platform in platforms for each in compatible_tags(platform)):
        common += ["--platform", tag]
    if python is not None:
        common += ["--python-version", python, "--implementation", "cp"]
    with tempfile.TemporaryDirectory() as temporary:
        pins = Path(temporary) / "constraints.txt"
        pins.write_text("".join(f"{line}\n" for line in _pins()), encoding="utf-8")
        common += ["--constraint", str(pins)]
        run_pip(*common, with_extras(str(wheel), extras))
        tried: set[str] = set()
        while (platforms or python) and (missing := _conditional(folder) - tried):
            tried |= missing
            for requirement in sorted(missing):
                _try_pip(*common, requirement)


def _pins() -> Iterator[str]:
    """Yield the versions that are installed here, but for this package, as constraints."""
    for each in metadata.distributions():
        name, version = canonical(str(each.metadata["Name"] or "")), str(each.version)
        if name and name != PACKAGE and "+" not in version:
            yield f"{name}=={version}"


def compatible_tags(platform: str) -> list[str]:
    """Return the tags of wheels that a system takes whose own tag is given.

    >>> compatible_tags("manylinux_2_6_x86_64")
    ['manylinux_2_6_x86_64', 'manylinux_2_5_x86_64', 'manylinux1_x86_64']
    """
    found = _MANYLINUX.fullmatch(platform)
    if found is None:  # pip knows what else other systems take
        return [platform]
    family, major, minor, machine = found[1], found[2], int(found[3]), found[4]
    tags = []
    for older in range(minor, 4 if family == "many" else 0, -1):
        tags.append(f"{family}linux_{major}_{older}_{machine}")
        if family == "many" and older in _LEGACY:
            tags.append(f"{_LEGACY[older]}_{machine}")
    return tags


def _conditional(folder: Path) -> set[str]:
    """Return the requirements of wheels in a folder that depend on the system and are not there."""
    wheels = sorted(folder.glob("*.whl"))
    there = {canonical(wheel.name.split("-")[0]) for wheel in wheels}
    found = set()
    for wheel in wheels:
        for name, versions, marker in map(parse_requirement, _said_of(wheel, "Requires-Dist")):
            if marker and "extra" not in marker and name not in there:
                found.add(f"{name}{versions}")
    return found


def _said_of(wheel: Path, field: str) -> list[str]:
    """Return what the metadata of a wheel says in a field, which may be there several times."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)]
        text = archive.read(name).decode("utf-8", errors="replace")
    return re.findall(rf"^{field}: (.*)", text.partition("\n\n")[0], re.MULTILINE)


def run_pip(*arguments: str) -> None:
    """Run pip of this Python.

    Raises
    ------
    OptionError
        What it says was wrong, in a line.
    """
    if problem := _pip(arguments):
        raise OptionError(problem)


def _try_pip(*arguments: str) -> None:
    """Run pip where it does not matter if there is nothing."""
    _pip(arguments)


def _pip(arguments: Iterable[str]) -> str | None:
    """Run pip; return in a line what was wrong, None if nothing was."""
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return None
    if "No module named pip" in done.stderr:
        return "pip is needed to pack and not installed; run python -m ensurepip."
    said = f"{done.stdout}\n{done.stderr}"
    if without := _NONE.search(said):
        names = ", ".join((without[1] or without[2]).split())
        return one_line(
            f"pip finds no wheel of {shortened(names, 100)} in the versions that are installed "
            "here; check the network, or pack on a computer like the one that the kit is for."
        )
    last = (_ERROR.findall(said) or said.split("\n"))[-1]
    return one_line(f"pip cannot get what the kit needs: {shortened(last, 200)}")


def wheel_given(path: Path) -> Path:
    """Return a wheel of this package that somebody gave.

    Raises
    ------
    OptionError
        If it is none.
    """
    if not re.fullmatch(r"deepseg_lite-[^-]+-py3-none-any\.whl", path.name) or not path.is_file():
        raise OptionError(f"{path} is no wheel of deepseg-lite; give one such as it is built.")
    return path
