"""Install deepseg-lite and its models from this kit: no network, nothing but Python.

Usage: python install.py [--venv DIR]
"""

# This file is copied into kits and runs there alone: it imports nothing of deepseg_lite.

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any, Dict, List  # noqa: UP035 # old versions of Python are told so in a line

SUMS, KIT = "SHA256SUMS", "kit.json"
SCHEMA = 1


class Refused(Exception):  # noqa: N818 # it ends in one line
    """The kit or this computer is not as it must be; the message says what helps."""


def check_kit(folder: Path) -> Dict[str, Any]:  # noqa: UP006
    """Check every file of a kit against its hash.

    Parameters
    ----------
    folder : Path
        Folder of the kit.

    Returns
    -------
    kit : dict
        What `kit.json` says.

    Raises
    ------
    Refused
        If a file is missing, was changed, or is not listed.
    """
    sums = read_sums(folder)
    for name, wanted in sums.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise Refused(f"{name} is missing from the kit; copy the kit again.")
        if sha256_of(path) != wanted:
            raise Refused(f"{name} was changed or is corrupt; copy the kit again.")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name != SUMS and name not in sums and not path.is_dir():
            raise Refused(f"{name} does not belong to the kit; remove it, or copy the kit again.")
    kit: Dict[str, Any] = json.loads((folder / KIT).read_text(encoding="utf-8"))  # noqa: UP006
    if kit.get("schema") != SCHEMA:
        raise Refused("this kit is of another form; use the install.py that came with it.")
    return kit


def read_sums(folder: Path) -> Dict[str, str]:  # noqa: UP006
    """Return the hashes that a kit lists, by the files' names.

    Raises
    ------
    Refused
        If there is no list, or a line is none of one.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        raise Refused(f"this is no kit: it has no {SUMS} that can be read.") from None
    sums = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        parts = PurePosixPath(name).parts
        if len(digest) != 64 or not parts or ".." in parts or parts[0] == "/" or "\\" in name:
            raise Refused(f"{SUMS} was changed or is corrupt; copy the kit again.")
        sums[name] = digest
    if KIT not in sums:
        raise Refused(f"{SUMS} does not list {KIT}; copy the kit again.")
    return sums


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def check_computer(kit: Dict[str, Any]) -> None:  # noqa: UP006
    """Refuse a Python or a system that the kit is not for.

    Raises
    ------
    Refused
        Which it is for, and which this is.
    """
    python = "{}.{}".format(*sys.version_info[:2])
    if kit["python"] != python:
        raise Refused(
            f"the kit is for Python {kit['python']} and this is {python}; run it with "
            f"python{kit['python']}."
        )
    here = f"{platform.system()} {platform.machine()}".lower()
    if kit["system"] != here:
        raise Refused(f"the kit is for {kit['system']} and this is {here}; have one packed for it.")


def install(folder: Path, environment: Path) -> None:
    """Check a kit, make an environment, and install the package and its models there.

    Parameters
    ----------
    folder : Path
        Folder of the kit.
    environment : Path
        Folder of the environment; it must not be there, and goes again if something fails.

    Raises
    ------
    Refused
        If something fails, in a line.
    """
    kit = check_kit(folder)
    check_computer(kit)
    if environment.exists():
        raise Refused(f"{environment} is there already; name another with --venv.")
    try:
        _run([sys.executable, "-m", "venv", str(environment)], "no environment can be made")
        scripts = environment / ("Scripts" if os.name == "nt" else "bin")
        python = str(scripts / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-cache-dir"]
        wheels = ["--find-links", str(folder / "wheels"), kit["requirement"]]
        _run([*pip, *wheels], "the packages cannot be installed")
        if kit["bundles"]:
            unpack = [python, "-m", "deepseg_lite", "unpack", str(folder)]
            _run(unpack, "the models cannot be installed")
    except BaseException:
        shutil.rmtree(str(environment), ignore_errors=True)
        raise
    print(scripts / "deepseg-lite")


def _run(command: List[str], problem: str) -> None:  # noqa: UP006
    """Run a command that uses no settings of pip's; its last line says why it failed."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    settings.pop("PYTHONPATH", None)
    settings["PIP_CONFIG_FILE"] = os.devnull
    settings["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    done = subprocess.run(
        command,
        env=settings,
        cwd=str(Path(__file__).resolve().parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        raise Refused(f"{problem}: {said[-1] if said else 'nothing was said'}")


def main() -> None:
    """Install what is beside this file."""
    parser = argparse.ArgumentParser(description="Install deepseg-lite from this kit.")
    parser.add_argument(
        "--venv", default="deepseg-lite-env", help="environment to make (default: %(default)s)"
    )
    try:
        install(Path(__file__).resolve().parent, Path(parser.parse_args().venv).absolute())
    except (Refused, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
