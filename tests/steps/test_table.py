"""The schema and the tables of functions name the same things."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.bundles import make_bundle

from deepseg_lite.bundles.manifest import manifest_schema
from deepseg_lite.inference.restore import decodes_rows
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.steps.box import Box, crop_to_box
from deepseg_lite.steps.intensity import SCHEMES
from deepseg_lite.steps.interpolation import Interpolation
from deepseg_lite.steps.resample import Resampled
from deepseg_lite.steps.table import MAP_STEPS, PREPROCESSING, Step, apply_step
from deepseg_lite.volume import Volume

SCHEMA = manifest_schema()
DEFINITIONS = SCHEMA["$defs"]
ITEMS = {
    "preprocessing": SCHEMA["properties"]["preprocessing"]["items"],
    "maps": DEFINITIONS["map_step"],
}
TABLES = {"preprocessing": PREPROCESSING, "maps": MAP_STEPS}
STEPS = [(kind, name) for kind, table in TABLES.items() for name in table]


def _keywords(function: Any) -> set[str]:
    """Return what a manifest gives a function beside the value it works on."""
    return set(list(inspect.signature(function).parameters)[1:])


@pytest.mark.parametrize("kind", TABLES)
def test_the_schema_knows_exactly_the_steps_of_the_table(kind):
    items = ITEMS[kind]
    assert set(items["properties"]["step"]["enum"]) == set(TABLES[kind])
    refined = {rule["if"]["properties"]["step"]["const"] for rule in items["allOf"]}
    assert refined == set(TABLES[kind])
    for rule in items["allOf"]:
        assert rule["then"]["$ref"] == f"#/$defs/{rule['if']['properties']['step']['const']}"


@pytest.mark.parametrize(("kind", "name"), STEPS)
def test_a_step_takes_exactly_the_keywords_of_the_schema(kind, name):
    definition = DEFINITIONS[name]
    row = TABLES[kind][name]
    keywords = _keywords(row.function)
    assert keywords >= set(row.needs)
    assert set(definition["properties"]) - {"step"} == keywords - set(row.needs)
    assert set(definition.get("required", [])) == keywords - set(row.needs)
    assert definition["additionalProperties"] is False


def test_the_schema_knows_exactly_the_normalisation_schemes():
    normalization = DEFINITIONS["normalization"]
    rules = {
        rule["if"]["properties"]["scheme"]["const"]: rule["then"] for rule in normalization["allOf"]
    }
    assert set(normalization["properties"]["scheme"]["enum"]) == set(rules) == set(SCHEMES)
    for name, rule in rules.items():
        keywords = {"mask" if key == "nonzero_only" else key for key in rule["properties"]}
        assert keywords - {"scheme"} == _keywords(SCHEMES[name])
        assert rule["additionalProperties"] is False


def test_the_schema_knows_exactly_the_fields_of_an_interpolation():
    definition = DEFINITIONS["interpolation"]
    fields = set(inspect.signature(Interpolation).parameters)
    assert set(definition["properties"]) == set(definition["required"]) == fields


def test_each_channel_has_its_own_scheme(rng):
    volume = Volume.from_array(rng.uniform(1, 9, (2, 4, 4, 4)), np.eye(4))
    channels = [{"scheme": "divide", "by": 2}, {"scheme": "none"}]
    found, record = apply_step(PREPROCESSING, {"step": "normalize", "channels": channels}, volume)
    assert record is None
    np.testing.assert_allclose(found.data[0], volume.data[0] / 2)
    np.testing.assert_array_equal(found.data[1], volume.data[1])


def test_nonzero_only_uses_the_filled_mask_of_all_channels():
    data = np.zeros((2, 3, 3, 3), np.float32)
    data[0, 0, 0] = [1, 2, 3]
    data[1, 2, 2] = [5, 6, 7]
    channels = [{"scheme": "zscore", "nonzero_only": True}] * 2
    step = {"step": "normalize", "channels": channels}
    found, _ = apply_step(PREPROCESSING, step, Volume.from_array(data, np.eye(4)))
    mask = (data != 0).any(axis=0)
    assert (found.data[:, ~mask] == 0).all()
    assert found.data[:, mask].mean(axis=1) == pytest.approx([0, 0], abs=1e-6)


def test_a_step_is_one_function_and_one_row(monkeypatch):
    """Nothing else asks for its name: it is applied, undone and planned by its row."""

    def drop_first_slice(volume: Volume, count: int, stride: tuple[int, ...]) -> Any:
        given.append(stride)
        box = Box((0, 0, count), volume.shape)
        return crop_to_box(volume, box)

    given: list[Any] = []
    monkeypatch.setitem(PREPROCESSING, "drop_first", Step(drop_first_slice, needs=("stride",)))
    volume = Volume.from_array(np.arange(24.0).reshape(2, 3, 4), np.eye(4))
    step = {"step": "drop_first", "count": 1}
    found, record = apply_step(PREPROCESSING, step, volume, stride=(2, 2, 2), prior=None)
    assert given == [(2, 2, 2)]
    np.testing.assert_array_equal(found.data, volume.data[..., 1:])
    np.testing.assert_array_equal(record.undo(found.data)[..., 1:], volume.data[..., 1:])
    assert (record.undo(found.data)[..., 0] == 0).all()
    bundle = replace(make_bundle(), preprocessing=(step,))
    assert decodes_rows(bundle, make_settings())
    later = replace(bundle, preprocessing=({"step": "resample"}, step))
    assert not decodes_rows(later, make_settings())


def test_steps_that_resample_say_so():
    """Scores are decoded when their record is undone, so the row and the record must agree."""
    volume = Volume.from_array(np.ones((4, 4, 4)), np.eye(4))
    sampling = {"order": 1, "separate_axis": "none", "separate_order": 0}
    steps = {
        "resample": {"spacing": [2.0, 2.0, 2.0], "image": sampling, "scores": sampling},
        "zoom": {"spacing": [2.0, 2.0, None]},
    }
    assert {n for n, row in PREPROCESSING.items() if row.changes == "resampling"} == set(steps)
    for name, keywords in steps.items():
        _, record = apply_step(PREPROCESSING, {"step": name, **keywords}, volume)
        assert isinstance(record, Resampled)
