"""Task directories made for a test."""

from __future__ import annotations

from pathlib import Path

from helpers.bundles import write_bundle

TASK = """\
name = "{name}"
aliases = ["{name}_t2-w"]
title = "A title"
description = "What it does."
group = "other"
status = "active"
license = "MIT"
citations = [{{ title = "Nobody" }}, {{ title = "Nowhere" }}]
unverified = []

[[inputs]]
name = "t2"
contrasts = ["t2"]
dimensions = [3]

[[releases]]
version = "r2"
sct = "since 7.0"
changes = "Another network."
model = "model_two"
family = "nnunet"
archives = [["https://example.org/two.zip", "https://example.com/two.zip"]]
labels = [{{ name = "cord", values = [1] }}]
outputs = [{{ suffix = "cord", kind = "mask", labels = ["cord"] }}]

[[releases]]
version = "r1"
changes = "First release."
model = "model_one"
family = "monai"
archives = [["https://example.org/one.zip"]]
labels = [{{ name = "cord", values = [1] }}]
outputs = [{{ suffix = "cord", kind = "soft" }}]
"""
UNSUPPORTED = TASK.replace("changes =", 'obstacle = "nobody knows how"\nchanges =')
RETIRED = TASK.replace('"active"', '"retired"\nlast_sct = "6.4"\nsuperseded_by = ["spinalcord"]')


def add_task(models: Path, name: str, text: str = TASK, kind: str | None = "threshold") -> Path:
    """Write a task directory, with a bundle of that kind or without any, and return it."""
    directory = models / name
    directory.mkdir(parents=True, exist_ok=True)
    if kind:
        write_bundle(directory / "bundle", kind)
    (directory / "task.toml").write_text(text.format(name=name), encoding="utf-8")
    return directory
