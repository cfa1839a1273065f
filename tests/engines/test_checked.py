"""Checked networks: nothing that is not finite, or of the wrong kind, becomes a mask (fault 1)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.bundles import write_bundle

from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.engines.checked import CheckedNetwork
from deepseg_lite.errors import BundleError
from deepseg_lite.inference.sliding_window import predict_sliding_window

BATCH = np.zeros((1, 1, 4, 4, 4), np.float32)
GOOD = np.ones((1, 2, 4, 4, 4), np.float32)


class Fixed:
    """A network that gives what it was made with."""

    input_shape = (None, 1, None, None, None)
    output_shape = (None, 2, None, None, None)

    def __init__(self, result):
        self.result = result

    def __call__(self, batch):
        return self.result


@pytest.fixture
def checked(tmp_path):
    bundle = read_bundle(write_bundle(tmp_path / "b"))

    def make(result, precision="fp32"):
        return CheckedNetwork(Fixed(result), bundle, bundle.networks[0], precision)

    return make


def _with(value):
    result = GOOD.copy()
    result[0, 1, 2, 3, 1] = value
    return result


BAD = {
    "nan": (_with(np.nan), "1 numbers that are NaN or infinite, of 128"),
    "inf": (_with(np.inf), "1 numbers that are NaN or infinite"),
    "both": (np.stack([[np.full((4, 4, 4), s, "f4") for s in (np.inf, -np.inf)]]), "128 numbers"),
    "size": (GOOD[..., :3], r"shape \(1, 2, 4, 4, 3\), not \(1, 2, 4, 4, 4\)"),
    "batch": (np.concatenate([GOOD, GOOD]), r"shape \(2, 2, 4, 4, 4\)"),
    "classes": (GOOD[:, :1], r"shape \(1, 1, 4, 4, 4\)"),
    "integers": (GOOD.astype(np.int64), "type int64"),
    "booleans": (GOOD.astype(bool), "type bool"),
    "doubles": (GOOD.astype(np.float64), "type float64"),
}


@pytest.mark.parametrize(("result", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_scores_is_refused_with_the_fold(checked, result, message):
    with pytest.raises(BundleError, match=f"tiny_threshold, fold .*{message}"):
        checked(result)(BATCH)


def test_large_numbers_are_taken_though_their_sum_is_infinite(checked):
    result = np.full_like(GOOD, 3e38)
    assert checked(result)(BATCH) is result


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_lower_precision_is_advised_against(checked, precision):
    with pytest.raises(BundleError, match=f"computes in {precision}; leave `precision` out"):
        checked(_with(np.nan), precision)(BATCH)


def test_the_patch_is_named(checked):
    good, bad = checked(GOOD), checked(_with(np.nan))
    calls = iter([good, good, bad])
    options = {"starts": [[0, 2], [0], [0, 4]], "importance": np.ones((4, 4, 4), np.float32)}
    with pytest.raises(BundleError, match=r"patch 3 at \(2, 0, 0\): tiny_threshold"):
        predict_sliding_window(
            np.zeros((1, 6, 4, 8), np.float32), lambda b: next(calls)(b), (4, 4, 4), **options
        )


def test_other_bundles_have_outputs_of_any_shape():
    bundle = SimpleNamespace(name="finder")
    network = CheckedNetwork(Fixed(GOOD), bundle, SimpleNamespace(path="a.onnx"), "fp32")
    assert network(BATCH) is GOOD
