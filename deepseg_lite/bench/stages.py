"""The stages of a run, in order, with their names for people and colours for plots.

The colours are those of Paul Tol's scheme "muted" and two grays: told apart with any kind of colour
vision.
"""

from __future__ import annotations

from typing import NamedTuple


class Stage(NamedTuple):
    """How a stage is shown."""

    title: str
    colour: str


STAGES = {
    "import": Stage("import", "#332288"),
    "load": Stage("load", "#88CCEE"),
    "read": Stage("read", "#44AA99"),
    "crop": Stage("crop", "#555555"),
    "preprocess": Stage("preprocess", "#117733"),
    "network": Stage("network", "#DDCC77"),
    "blend": Stage("blend", "#CC6677"),
    "restore": Stage("resample and decode", "#882255"),
    "postprocess": Stage("postprocess", "#999933"),
    "write": Stage("write", "#AA4499"),
    "other": Stage("other", "#DDDDDD"),
}

INFERENCE = ("preprocess", "network", "blend", "restore")
"""What the Spinal Cord Toolbox calls inference: it times neither files nor models nor imports."""
