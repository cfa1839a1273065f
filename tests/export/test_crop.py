"""Models of volumes that were cut out around the cord."""

from __future__ import annotations

import json
from typing import Any

import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.families.nnunet import Options, load
from deepseg_export.families.nnunet.crop import FACES, read_crop
from helpers.nnunet_models import write_zip

PADDINGS: dict[str, Any] = {f"pad_{face}": size for size, face in enumerate(FACES, 10)}


@pytest.mark.export
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("levels", [0, 1, 2], ids=["in the model", "above it", "at the root"])
def test_paddings_are_found_and_recorded(make_model, tmp_path, levels, packed):
    pytest.importorskip("torch")
    pytest.importorskip("dynamic_network_architectures")
    root = tmp_path / "root"
    place = [make_model(root=root / "level"), root / "level", root][levels]
    (place / "crop_metadata.json").write_text(json.dumps({**PADDINGS, "sc_crop_version": "0.12.1"}))
    manifest = load(write_zip(tmp_path / "m.zip", root) if packed else root, Options()).manifest
    assert manifest["cord_crop"] == {
        "detector": "sc_crop",
        "padding_mm": {
            "superior": 10,
            "inferior": 11,
            "left": 12,
            "right": 13,
            "anterior": 14,
            "posterior": 15,
        },
    }
    assert manifest["source"]["details"]["sc_crop_version"] == "0.12.1"
    assert len(manifest["source"]["files"]["crop_metadata.json"]) == 64


def test_zero_and_fractions_are_paddings():
    assert read_crop({**PADDINGS, "pad_left": 0, "pad_right": 7.5})["padding_mm"]["right"] == 7.5


@pytest.mark.parametrize("wrong", [None, -1, "15", True, float("nan"), float("inf"), [1]])
def test_all_that_is_missing_is_listed(wrong):
    content = {**PADDINGS, "pad_left": wrong}
    del content["pad_superior"]
    with pytest.raises(CheckpointError, match="does not say pad_superior, pad_left; millimetres"):
        read_crop(content)
