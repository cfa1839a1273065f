"""Rules of the Spinal Cord Toolbox that go by a label's name.

Source: SCT 6.5 to 7.3, ``deepseg_`` inference: how a label map is split into files, and the one
label that is cleaned without being asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Steps that run on models with a label of exactly this name.
FORCED_STEPS = {"canal_seg": [{"step": "keep_largest"}]}


def files_of(labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the files that SCT writes for labels of these names, as in a manifest."""
    if list(labels) == [f"lvl{i + 1}" for i in range(len(labels))]:
        return [{"suffix": "rootlets", "kind": "labels"}]
    if list(labels) == ["sc"]:
        return [{"suffix": "seg", "kind": "mask", "labels": ["sc"]}]
    return [{"suffix": f"{name}_seg", "kind": "mask", "labels": [name]} for name in labels]


def forced_steps(labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the steps that SCT forces on labels of these names."""
    return [step for name in labels for step in FORCED_STEPS.get(name, ())]
