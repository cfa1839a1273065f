"""Facts of a checkpoint beyond its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError
from deepseg_export.families.problems import Problems
from deepseg_export.reading.checkpoint import load_checkpoint


@dataclass(frozen=True)
class Trained:
    """The parts of one fold's checkpoint that matter after training."""

    configuration: str
    trainer: str | None
    mirror_axes: tuple[int, ...]
    weights: Mapping[str, Any]


def read_trained(file: Path, folder_name: str) -> Trained:
    """Read one fold.

    Parameters
    ----------
    file : Path
        The checkpoint.
    folder_name : str
        ``trainer__plans__configuration``, asked when the checkpoint does not say it.

    Raises
    ------
    CheckpointError
        If it is not an nnU-Net v2 checkpoint.
    """
    content = load_checkpoint(file)
    weights = content.get("network_weights")
    if not isinstance(weights, Mapping):
        raise CheckpointError(
            f"{file.parent.name}/{file.name} has no network_weights, so it is not an nnU-Net v2 "
            "checkpoint."
        )
    parts = folder_name.split("__")
    arguments = content.get("init_args")
    configuration = arguments.get("configuration") if isinstance(arguments, Mapping) else None
    if configuration is None and len(parts) == 3:
        configuration = parts[2]
    if configuration is None:
        raise CheckpointError(
            f"{file.parent.name}/{file.name} does not say its configuration, and {folder_name} is "
            "not named trainer__plans__configuration."
        )
    axes = content.get("inference_allowed_mirroring_axes") or ()
    if not isinstance(axes, Sequence) or not all(isinstance(axis, int) for axis in axes):
        raise CheckpointError(
            f"{file.parent.name}/{file.name} allows mirroring along {axes!r}, which are no axes."
        )
    trainer = content.get("trainer_name")
    return Trained(
        configuration=str(configuration),
        trainer=None if trainer is None else str(trainer),
        mirror_axes=tuple(axes),
        weights=weights,
    )


def disagreements(trained: Mapping[str, Trained]) -> Problems:
    """Return in what the folds differ; nnU-Net would silently follow the first one."""
    problems = []
    for what in ("configuration", "mirror_axes"):
        found = {fold: getattr(one, what) for fold, one in trained.items()}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"fold {fold}: {value}" for fold, value in found.items())
            problems.append(f"folds differ in {what} ({listed}); export them apart with --folds")
    return problems
