"""ivadomed's networks compute what ivadomed 2.9.10 computed: pickles and results are its own."""

from __future__ import annotations

import pytest
from helpers.ivadomed_networks import check
from helpers.paths import DATA

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.export

PICKLES = sorted((DATA / "ivadomed").glob("*.pt"))


@pytest.mark.parametrize("pickle", PICKLES, ids=lambda path: path.stem)
def test_networks_are_those_of_the_original(pickle, record_property):
    record_property("distances", check(pickle)._asdict())


def test_every_kind_of_network_is_there():
    assert {path.stem for path in PICKLES} == {"modified", "unet_3d", "unet_relu", "unet_softmax"}
