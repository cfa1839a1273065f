"""What is kept of texts, records and files: all but times, versions and places."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMES = re.compile(r"\b\d+(\.\d+)? ?s\b")
VERSIONS = re.compile(
    r"\b(deepseg.lite|onnx|onnxruntime|ONNX Runtime|onnxscript|openvino|torch)(==|@| |: )\d[\w.+]*"
)
DATES = re.compile(r"\bon \d{4}-\d\d-\d\d\b")
NUMBERS = re.compile(r"[\d.,]+")
KEYS_ALONE = ("Seconds", "versions")
"""Of these the keys stay, in their order, without the values."""
LEFT_OUT = ("Date", "Version", "onnxruntime", "numpy", "openvino", "deepseg_lite")
"""Values that say nothing of the code."""


class Normalizer:
    """Takes out what differs from run to run.

    Parameters
    ----------
    places : mapping of str to str
        Texts to replace, such as folders, and what stands for them.
    """

    def __init__(self, places: Mapping[str, str]):
        self._places = dict(places)

    def text(self, text: str, line: str = "") -> str:
        """Return a text of the command ``line`` without places, times and versions."""
        for place, name in self._places.items():
            text = text.replace(place, name)
        text = VERSIONS.sub(r"\1\2N", DATES.sub("on N", TIMES.sub("N s", text)))
        if line.startswith("lite bench b/threshold"):  # the names of columns and rows stay
            kept = [row for row in text.splitlines() if not row.startswith(("machine", "|"))]
            text = "\n".join(re.sub(r" +", " ", NUMBERS.sub("N", row)) for row in kept)
        return text

    def output(self, text: str, line: str) -> Any:
        """Return what a command printed: the document where it is JSON, else the text."""
        try:
            return self.value(json.loads(text))
        except ValueError:
            return self.text(text, line)

    def value(self, value: Any) -> Any:
        """Return a document without places, times and versions."""
        if isinstance(value, dict):
            return {self.text(str(key)): self._entry(key, inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        return self.text(value) if isinstance(value, str) else value

    def _entry(self, key: Any, value: Any) -> Any:
        if key in KEYS_ALONE and isinstance(value, dict):
            return ", ".join(value)
        if key in LEFT_OUT and isinstance(value, str):
            return "N"
        return self.value(value)

    def file(self, path: Path) -> Any:
        """Return a document or a short text as it is, and size and SHA-256 of all else."""
        content = path.read_bytes()
        if path.suffix == ".json":
            return self.value(json.loads(content))
        if path.suffix in (".md", ".tsv", ".txt"):
            return self.text(content.decode())
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return f"{len(content)} bytes {hashlib.sha256(content).hexdigest()}"
