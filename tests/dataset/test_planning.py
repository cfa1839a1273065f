"""Channels of planned tasks, and the contrasts that their images may have."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deepseg_lite.dataset.choosing import Channel
from deepseg_lite.dataset.options import BatchOptions
from deepseg_lite.dataset.planning import plan_tasks
from deepseg_lite.option import complete

DEFAULTS = complete(BatchOptions, {})


def _planned(names, told, contrasts=()):
    """Return a plan whose network has such channels, and whose task such inputs."""
    (planned,) = plan_tasks(["sc_gm_t2star"], DEFAULTS)
    inputs = SimpleNamespace(channel_names=names, contrasts=contrasts)
    task = SimpleNamespace(inputs=[SimpleNamespace(name=n, contrasts=c) for n, c in told])
    model = SimpleNamespace(bundle=SimpleNamespace(inputs=inputs), task=task)
    object.__setattr__(planned, "model", model)
    return planned


def test_the_shipped_model_takes_its_contrast_alone():
    (planned,) = plan_tasks(["sc_gm_t2star"], DEFAULTS)
    assert planned.channels == [Channel("T2starw", ("t2star",))]


@pytest.mark.parametrize(
    ("names", "told", "expected"),
    [
        (("A", "B"), [("t1", ("t1",)), ("t2", ("t2",))], [("t1",), ("t2",)]),
        (("t2", "t1"), [("t1", ("t1",)), ("t2", ("t2",))], [("t2",), ("t1",)]),
        (("A", "B"), [("t1", ("t1",))], [(), ()]),
    ],
    ids=["in-order", "by-name", "another-count"],
)
def test_a_channel_has_the_contrasts_of_its_input(names, told, expected):
    channels = _planned(names, told).channels
    assert [channel.contrasts for channel in channels] == expected
    assert [channel.name for channel in channels] == list(names)
