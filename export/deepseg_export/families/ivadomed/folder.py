"""ivadomed's model folders: a JSON file beside weights of the same name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deepseg_export.errors import CheckpointError

_SUFFIXES = (".json", ".onnx", ".pt")


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model; ``onnx`` or ``pickle`` may be missing, not both."""

    settings: Path
    onnx: Path | None
    pickle: Path | None

    @property
    def name(self) -> str:
        """Return what the files are called."""
        return self.settings.stem

    @property
    def used(self) -> tuple[Path, ...]:
        """Return the settings and the weights that are taken: the ready graph if there is one."""
        weights = self.onnx or self.pickle
        assert weights is not None
        return (self.settings, weights)


def is_wanted(member: PurePosixPath) -> bool:
    """Tell whether a file of an archive is one the export reads."""
    return "__MACOSX" not in member.parts and member.suffix in _SUFFIXES


def find_model(root: Path, given: str) -> ModelFiles:
    """Return the one model that ``root`` is or holds, at any depth; links are not followed.

    Raises
    ------
    CheckpointError
        If there is none, or more than one; the message lists what was found.
    """
    found = find_models(root, given)
    if len(found) == 1:
        return found[0]
    listed = ", ".join(sorted(files.name for files in found))
    raise CheckpointError(f"{given} holds {len(found)} models: {listed}. Name one of them.")


def find_models(root: Path, given: str) -> list[ModelFiles]:
    """Return the models that ``root`` is or holds, by their paths; links are not followed.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    found = []
    for place, _, names in os.walk(root):
        for name in sorted(names):
            file = Path(place, name)
            if file.suffix != ".json" or name.startswith("._"):
                continue
            onnx, pickle = (file.with_suffix(suffix) for suffix in _SUFFIXES[1:])
            if onnx.is_file() or pickle.is_file():
                found.append(
                    ModelFiles(
                        file,
                        onnx if onnx.is_file() else None,
                        pickle if pickle.is_file() else None,
                    )
                )
    if found:
        return sorted(found, key=lambda files: files.settings)
    raise CheckpointError(
        f"{given} holds no ivadomed model: NAME.json with NAME.onnx or NAME.pt beside it is needed."
    )
