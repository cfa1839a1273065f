"""The schema and the tables of functions name the same things."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from deepseg_lite.bundles.manifest import manifest_schema
from deepseg_lite.steps.intensity import SCHEMES
from deepseg_lite.steps.interpolation import Interpolation
from deepseg_lite.steps.table import CONTEXT, MAP_STEPS, PREPROCESSING, apply_step
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
    return set(list(inspect.signature(function).parameters)[1:]) - CONTEXT


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
    assert set(definition["properties"]) - {"step"} == _keywords(TABLES[kind][name])
    assert set(definition.get("required", [])) == _keywords(TABLES[kind][name])
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
