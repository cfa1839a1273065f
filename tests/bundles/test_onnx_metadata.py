"""The manifest inside an ONNX file."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from helpers.onnx_files import message
from helpers.paths import DATA
from hypothesis import given
from hypothesis import strategies as st

from deepseg_lite.bundles.onnx_metadata import (
    MANIFEST_KEY,
    append_manifest,
    split_manifest,
)

NETWORK = (DATA / "threshold_3d.onnx").read_bytes()


@given(st.text())
def test_what_was_appended_is_found(text):
    data = append_manifest(NETWORK, text)
    assert data.startswith(NETWORK)
    entry = split_manifest(data)
    assert entry == (text, len(NETWORK))


def test_a_network_without_manifest_has_none():
    assert split_manifest(NETWORK) is None
    assert split_manifest(b"") is None


def test_only_an_entry_at_the_end_counts():
    """A manifest followed by anything is not ours: the bytes before it would not be the network."""
    data = append_manifest(append_manifest(NETWORK, "first"), "second")
    assert split_manifest(data) == ("second", len(append_manifest(NETWORK, "first")))
    assert split_manifest(append_manifest(NETWORK, "first") + NETWORK) is None


def test_other_metadata_is_not_a_manifest():
    other = append_manifest(NETWORK, "text").replace(
        MANIFEST_KEY.encode(), b"another.key.of.length"
    )
    assert split_manifest(other) is None


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_truncated_file_is_not_a_message(cut):
    with pytest.raises(ValueError, match=r"cut short|not a protobuf"):
        split_manifest(append_manifest(NETWORK, "x" * 60)[:-cut])


@pytest.mark.parametrize(
    "entry", [3, message((1, 2**62)), message((1, MANIFEST_KEY), (2, 2**62))], ids=ascii
)
def test_a_number_in_the_place_of_text_is_no_number_of_bytes(entry):
    """A file of 8 bytes took as much memory as it said."""
    data = message((14, entry))
    if isinstance(entry, int):
        assert split_manifest(data) is None
    else:
        with pytest.raises(ValueError, match="a number where text or data belongs"):
            split_manifest(data)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: NETWORK + tail))
def test_random_bytes_have_a_manifest_none_or_are_refused(data):
    try:
        entry = split_manifest(data)
    except ValueError:
        return
    assert entry is None or data[entry.start :].count(MANIFEST_KEY.encode()) == 1


def test_onnxruntime_opens_a_file_with_manifest_and_shows_it():
    text = json.dumps({"name": "tiny", "note": "ä" * 300})
    session = onnxruntime.InferenceSession(
        append_manifest(NETWORK, text), providers=["CPUExecutionProvider"]
    )
    assert session.get_modelmeta().custom_metadata_map == {MANIFEST_KEY: text}
    patch = np.full((1, 1, 2, 2, 2), 2, np.float32)
    logits = session.run(None, {session.get_inputs()[0].name: patch})[0]
    np.testing.assert_allclose(logits[0, :, 0, 0, 0], [-1.5, 1.5])
