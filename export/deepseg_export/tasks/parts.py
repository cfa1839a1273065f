"""The models that a release is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.task_file import Release, Stage, Task


@dataclass(frozen=True)
class Part:
    """One model of a release: which of its stages, and the names of its bundle and the others'.

    ``others`` are given to the main model alone.
    """

    task: Task
    release: Release
    index: int
    name: str
    others: tuple[str, ...]

    @property
    def stage(self) -> Stage:
        """Return the stage of the release."""
        return self.release.stages[self.index]

    @property
    def is_main(self) -> bool:
        """Return whether this is the model that the task's bundle is made of."""
        return self.index == self.release.main

    @property
    def alone(self) -> Release:
        """Return the release as if it was this model alone; only the main one writes files."""
        if self.is_main:
            return replace(self.release, stages=(self.stage,))
        return replace(self.release, stages=(self.stage,), outputs=(), workflow=None)

    @property
    def references(self) -> Path:
        """Return the folder with reference cases of the model, whether there are any or not."""
        folder = self.task.directory / "reference" / self.release.version
        return folder / self.stage.name if len(self.release.stages) > 1 else folder

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the family is told of the model; each has a place for some of it."""
        task, release, layout = self.task, self.release, self.stage.layout
        facts: dict[str, Any] = {
            "name": self.name,
            "release": release.version,
            "license": task.license,
            "citation": task.citation,
            "sct": release.sct,
            "prior": self.others[0] if self.others and not release.workflow else None,
            "is_ensemble": self.stage.ensemble == "mean_output",
        }
        if layout.checkpoints:
            facts["checkpoints"] = layout.checkpoints
        if layout.files:
            facts["files"] = layout.files
        if release.workflow:  # it says what its networks are given, whatever the archive says
            facts |= {"orientation": self.stage.orientation, "folds": layout.folds or None}
        return facts

    def pinned(self, files: Mapping[str, str]) -> dict[str, str]:
        """Return the files of the model under names that no other model of the release has."""
        before = f"{self.stage.name}/" if len(self.release.stages) > 1 else ""
        return {f"{before}{name}": digest for name, digest in files.items()}


def parts_of(task: Task, release: Release, bundle: str) -> list[Part]:
    """Return the models of a release, the main one last."""
    names = [f"{bundle}.{stage.name}" for stage in release.stages]
    others = [index for index in range(len(names)) if index != release.main]
    return [
        *(Part(task, release, index, names[index], ()) for index in others),
        Part(task, release, release.main, bundle, tuple(names[index] for index in others)),
    ]
