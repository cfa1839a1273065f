"""Workflows: what is made of the networks of several bundles, as a manifest says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WorkflowFile:
    """One file of a workflow: which of its results, and the suffix of its name."""

    output: str
    suffix: str


@dataclass(frozen=True)
class Workflow:
    """Workflow of the networks of several bundles, step by step; see the manifest's schema.

    ``second`` is the bundle of the second step, ``rules`` the numbers that tell versions of the
    original software apart, ``files`` what a run writes by default and with an option.
    """

    name: str
    second: str
    rules: Mapping[str, Any]
    files: Mapping[str, tuple[WorkflowFile, ...]]


def parse_workflow(workflow: Mapping[str, Any]) -> Workflow:
    """Return the workflow that a valid manifest describes."""
    files = {
        option: tuple(WorkflowFile(**file) for file in listed)
        for option, listed in workflow["files"].items()
    }
    return Workflow(workflow["name"], workflow["second"], workflow["rules"], files)
