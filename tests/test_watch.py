"""A watch over a run: stages that add up, progress to the end, and a way to stop."""

from __future__ import annotations

import pytest

from deepseg_lite.errors import Cancelled
from deepseg_lite.watch import Watch


def test_stages_of_one_name_add_up():
    watch = Watch()
    watch.seconds["restore"] = 5.0
    for name in ("load", "restore"):
        with watch.stage(name):
            pass
    assert list(watch.seconds) == ["restore", "load"]
    assert watch.seconds["restore"] >= 5.0


def test_progress_is_told_what_is_done_and_how_much_there_is():
    told = []
    on_patches = Watch(lambda done, total: told.append((done, total))).count_patches(5)
    for count in (2, 2, 1):
        on_patches(count)
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_cancelling_stops_the_run_after_the_patches_that_are_done():
    told = []
    watch = Watch(lambda done, total: told.append(done), lambda: bool(told))
    with pytest.raises(Cancelled, match="nothing was written"):
        watch.count_patches(3)(1)
    assert told == [1]


def test_a_model_inside_a_run_has_stages_of_its_own_and_stops_with_it():
    told = []
    watch = Watch(lambda done, total: told.append(done), lambda: True)
    inner = watch.inner(tells_progress=False)
    with inner.stage("predict"):
        pass
    assert watch.seconds == {}
    with pytest.raises(Cancelled):
        inner.count_patches(1)(1)
    assert told == []
    with pytest.raises(Cancelled):
        watch.inner().count_patches(1)(1)
    assert told == [1]
