"""A bundle's manifest and card, beside its networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepseg_export.writing.card import write_card
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.files import MANIFEST_NAME, check_network
from deepseg_lite.bundles.onnx_metadata import append_manifest

CARD_NAME = "README.md"


def write_bundle(manifest: Mapping[str, Any], staged: Path, *, lone_file: bool) -> None:
    """Add manifest and card to the networks, then read all of it back, as a run would."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if lone_file:
        staged.write_bytes(append_manifest(staged.read_bytes(), text))
    else:
        (staged / MANIFEST_NAME).write_text(text, encoding="utf-8")
        (staged / CARD_NAME).write_text(write_card(manifest), encoding="utf-8")
    bundle = read_bundle(staged)
    for file in bundle.files:
        check_network(bundle, file)
