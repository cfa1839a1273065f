"""Fixtures of the export tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.nnunet_models import write_model

ModelFactory = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> ModelFactory:
    """Write a model below a folder of its own."""

    def make(**choices: Any) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return write_model(choices.pop("root", tmp_path / "models"), **choices)

    return make
