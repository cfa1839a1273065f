"""Packing: a kit made whole in a working folder, and then moved to its place."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypedDict

from deepseg_lite import atomic
from deepseg_lite.errors import OptionError, OutputError
from deepseg_lite.kit.bundles import bundles_for, check_licenses, copy_in
from deepseg_lite.kit.install import KIT, SCHEMA, SUMS, sha256_of
from deepseg_lite.kit.wheels import (
    PACKAGE,
    download,
    extras_here,
    own_wheel,
    wheel_given,
    with_extras,
)
from deepseg_lite.store.cache import workplace

_PYTHON = re.compile(r"3\.\d+")
_SYSTEMS = {"manylinux": "linux", "musllinux": "linux", "linux": "linux", "win": "windows",
            "macosx": "darwin"}  # fmt: skip
_TAG = re.compile(r"(manylinux|musllinux|linux|win|macosx)(?:\d{4}|(?:_\d+_\d+))?_(\w+)")


class Target(TypedDict):
    """What a kit is for.

    ``platforms`` are tags of one system as wheels have them, none for this one; ``python`` is such
    as 3.11, None for this one; ``extras`` are of this package, None for the engines that are here.
    """

    platforms: Sequence[str]
    python: str | None
    extras: Sequence[str] | None


def pack(
    out: Path,
    tasks: Sequence[str],
    target: Target,
    *,
    wheel: Path | None = None,
    yes: bool = False,
    begins: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Pack a kit.

    Parameters
    ----------
    out : Path
        Folder of the kit; it must not be there, and appears whole or not at all.
    tasks : sequence of str
        Tasks or bundles whose models come along.
    target : Target
        What it is for.
    wheel : Path, optional
        Wheel of this package; default what is installed.
    yes : bool
        Whether models come along whose licence is not known to let others pass them on.
    begins : callable, optional
        Told in words what begins.

    Returns
    -------
    kit : dict
        What its ``kit.json`` says.

    Raises
    ------
    OutputError
        If ``out`` is there, or cannot be written.
    BundleNotFoundError
        If a model is not here.
    OptionError
        If pip finds no wheels for the target, or a licence is in the way.
    """
    out = Path(os.path.abspath(out))
    system, python = _system(target["platforms"]), _python(target["python"])
    if os.path.lexists(out):
        raise OutputError(f"{out} is there already; name a folder that is not there.")
    atomic.check_folder(out.parent)
    bundles = bundles_for(tasks)
    check_licenses(bundles, yes=yes)
    extras = list(extras_here() if target["extras"] is None else target["extras"])
    with workplace(out) as work:
        staged = work / "kit"
        (staged / "wheels").mkdir(parents=True)
        begins("the wheel of deepseg-lite")
        given = wheel and wheel_given(wheel)
        mine = own_wheel(staged / "wheels") if given is None else staged / "wheels" / given.name
        if given is not None:
            shutil.copyfile(given, mine)
        begins(f"wheels for Python {python} on {system}")
        download(mine, extras, staged / "wheels", target["platforms"], target["python"])
        begins(f"models: {', '.join(bundle.name for bundle in bundles) or 'that of the package'}")
        entries = [copy_in(bundle, staged / "bundles") for bundle in bundles]
        version = mine.name.split("-")[1]
        kit = {
            "schema": SCHEMA,
            "python": python,
            "system": system,
            "requirement": f"{with_extras(PACKAGE, extras)}=={version}",
            "bundles": entries,
        }
        _write_texts(staged, kit)
        if not atomic.install(staged, out, keep=lambda: True):
            raise OutputError(f"{out} exists by now; name a folder that is not there.")
    return kit


def _write_texts(folder: Path, kit: dict[str, Any]) -> None:
    """Write what is in a kit besides wheels and bundles; the hashes come last."""
    (folder / KIT).write_text(json.dumps(kit, indent=2) + "\n", encoding="utf-8")
    script = files("deepseg_lite.kit").joinpath("install.py").read_text(encoding="utf-8")
    (folder / "install.py").write_text(script, encoding="utf-8")
    models = ", ".join(f"{each['name']} {each['version']}" for each in kit["bundles"])
    (folder / "README.md").write_text(
        _README.format(models=models or "the one that ships with the package", **kit),
        encoding="utf-8",
    )
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    (folder / SUMS).write_text("".join(sums), encoding="utf-8")


_README = """\
# deepseg-lite, to install without a network

For Python {python} on {system}. Packages: {requirement}. Models: {models}.

    python{python} install.py --venv deepseg-lite-env

checks every file against SHA256SUMS, makes the environment, installs the packages there, and the
models into the local cache (DEEPSEG_LITE_HOME, else the user's cache folder). It prints the
program's name. Nothing but Python is needed.

Where deepseg-lite is installed already, `deepseg-lite unpack` and the name of this folder installs
the models alone.

The hashes prove that the kit arrived as it was packed, not who packed it. Models have licences of
their own: bundles/*/README.md.
"""


def _python(given: str | None) -> str:
    """Return the version of Python that a kit is for."""
    if given is None:
        return "{}.{}".format(*sys.version_info[:2])
    if not _PYTHON.fullmatch(given):
        raise OptionError(f"python is {given!r}; a version such as 3.11 is needed.")
    return given


def _system(platforms: Sequence[str]) -> str:
    """Return the system that a kit is for, as Python names it: ``linux x86_64``."""
    found = set()
    for tag in platforms:
        match = _TAG.fullmatch(tag)
        if match is None:
            raise OptionError(
                f"platform is {tag!r}; a tag of wheels is needed, such as manylinux_2_28_x86_64, "
                "win_amd64 or macosx_14_0_arm64."
            )
        found.add(f"{_SYSTEMS[match[1]]} {match[2]}")
    if len(found) > 1:
        raise OptionError(f"a kit is for one system, and these are {' and '.join(sorted(found))}.")
    return found.pop() if found else f"{platform.system()} {platform.machine()}".lower()
