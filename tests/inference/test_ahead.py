"""Calls made ahead: the order of results, what is beside what, and errors."""

from __future__ import annotations

import threading
from threading import Event

import numpy as np
import pytest

from deepseg_lite.inference.overlap import called_ahead
from deepseg_lite.inference.patches import importance_map, spread_starts
from deepseg_lite.inference.sliding_window import predict_sliding_window

PATIENCE_S = 60


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_results_come_in_order(at_once):
    assert list(called_ahead(lambda n: n * n, range(20), at_once)) == [n * n for n in range(20)]


def test_the_next_call_is_on_its_way_while_a_result_is_in_use():
    second = Event()
    results = called_ahead(lambda n: second.set() if n == 2 else n, range(3), 2)
    assert next(results) == 0
    assert second.wait(PATIENCE_S)
    assert next(results) == 1


def test_one_at_a_time_calls_nothing_ahead():
    called = []
    results = called_ahead(called.append, range(3), 1)
    next(results)
    assert called == [0]


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_error_ends_it_and_no_thread_is_left(at_once):
    def fail(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n

    before, found = threading.active_count(), []
    with pytest.raises(ValueError, match="three"):
        found.extend(called_ahead(fail, range(9), at_once))
    assert threading.active_count() == before


def test_giving_up_leaves_no_thread():
    before = threading.active_count()
    results = called_ahead(lambda n: n, range(100), 2)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_a_volume_is_blended_to_the_same_bits(rng):
    data = rng.normal(size=(1, 20, 20, 20)).astype(np.float32)
    patch, starts = (8, 8, 8), spread_starts((20, 20, 20), (8, 8, 8), 0.5)

    def scores(calls_at_once: int) -> np.ndarray:
        return predict_sliding_window(
            data,
            lambda patches: np.concatenate([patches, np.sin(patches)], axis=1),
            patch,
            starts=starts,
            importance=importance_map(patch, "gaussian_filter"),
            calls_at_once=calls_at_once,
        )

    np.testing.assert_array_equal(scores(2), scores(1))
