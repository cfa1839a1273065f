"""Tasks: what a user asks for by name. One directory each under ``models/``."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseg_lite.bundle import Bundle, read_bundle
from deepseg_lite.errors import BundleError, BundleNotFoundError
from deepseg_lite.store import models_directory

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TASK_FILE = "task.toml"
_TEXTS = ("name", "title", "description", "group", "suffix", "license", "citation")


@dataclass(frozen=True)
class Task:
    """What people know about a task, from its ``task.toml``.

    ``suffix`` goes between the input's name and the extension of a label map.
    """

    name: str
    aliases: tuple[str, ...]
    title: str
    description: str
    group: str
    suffix: str
    license: str
    citation: str
    directory: Path

    @property
    def bundle_path(self) -> Path:
        """Return where the task's bundle is when it ships with the package."""
        return self.directory / "bundle"


def read_task(directory: Path) -> Task:
    """Read one task directory.

    Raises
    ------
    BundleError
        Listing everything that is wrong with its ``task.toml``.
    """
    file = directory / TASK_FILE
    try:
        document: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BundleError(f"{file} cannot be read: {error}.") from error
    aliases = document.pop("aliases", [])
    problems = [f"{key} is missing" for key in _TEXTS if key not in document]
    problems += [f"{key} is unknown" for key in document if key not in _TEXTS]
    problems += [
        f"{key} must be text" for key in _TEXTS if not isinstance(document.get(key, ""), str)
    ]
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        problems.append("aliases must be a list of texts")
    if document.get("name") != directory.name:
        problems.append(f"name must be {directory.name!r}, the name of its folder")
    if problems:
        raise BundleError(f"{file}: {'; '.join(problems)}.")
    return Task(directory=directory, aliases=tuple(aliases), **document)


def list_tasks(directory: Path | None = None) -> list[Task]:
    """Return every task of a models folder (default: the one that ships), sorted by name."""
    root = models_directory() if directory is None else directory
    return [read_task(file.parent) for file in sorted(root.glob(f"*/{TASK_FILE}"))]


def find_bundle(name: str, directory: Path | None = None) -> tuple[Bundle, Task | None]:
    """Return the bundle of a task's name or alias, or of a path.

    Names come first: a folder of the same name must be given as ``./name``.

    Raises
    ------
    BundleNotFoundError
        If it is neither; the closest task names are shown.
    BundleError
        If the bundle is invalid.
    """
    tasks = list_tasks(directory)
    by_name = {alias: task for task in tasks for alias in (task.name, *task.aliases)}
    if name in by_name:
        return read_bundle(by_name[name].bundle_path), by_name[name]
    if Path(name).exists():
        return read_bundle(name), None
    close = difflib.get_close_matches(name, by_name, n=3, cutoff=0.4)
    hint = f"closest: {', '.join(close)}" if close else f"known: {', '.join(sorted(by_name))}"
    raise BundleNotFoundError(
        f"{name} is neither a task nor the path of a bundle ({hint}); "
        "see deepseg-lite list, or make a bundle with deepseg-export."
    )


def describe(bundle: Bundle, task: Task | None) -> dict[str, Any]:
    """Return what people ask about a model."""
    source, parity = bundle.manifest["source"], bundle.manifest.get("parity")
    errors = [check["max_abs_error"] for check in bundle.manifest["export"]["checks"]]
    orientation = bundle.inputs.orientation
    return {
        "name": bundle.name,
        "version": bundle.version,
        "title": task.title if task else None,
        "inputs": list(bundle.inputs.channel_names),
        "orientation": f"any; brought to {orientation}" if orientation else "used as it is stored",
        "labels": [
            f"{label.name} = {'+'.join(map(str, label.values))}" for label in bundle.outputs.labels
        ],
        "patch": " x ".join(map(str, bundle.sliding_window.patch_size)),
        "folds": [network.fold for network in bundle.networks],
        "tta": "available" if bundle.mirror_axes else "not available (trained without mirroring)",
        "size": f"{bundle.size / 1e6:.1f} MB",
        "license": source["license"] or (task.license if task else None),
        "citation": source["citation"] or (task.citation if task else None),
        "export check": f"max |error| {max(errors):.1e}" if errors else None,
        "parity": parity
        and f"{parity['differing_voxels']} of {parity['voxels']} voxels differ from "
        f"{parity['reference']} on {parity['images']} images, Dice >= {parity['min_dice']:.4f}",
        "path": str(bundle.path),
    }
