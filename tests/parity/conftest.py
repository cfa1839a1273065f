"""Fixtures of the parity tests: the original beside a bundle exported from the same checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from deepseg_lite.bundles.bundle import Bundle, read_bundle

BundleOf = Callable[[Path, tuple[str, ...]], Bundle]


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> BundleOf:
    """Export some folds of a trained model; once per session."""
    from deepseg_export.exporting import export_model
    from deepseg_export.families.nnunet import Options

    @cache
    def export(model: Path, folds: tuple[str, ...]) -> Bundle:
        output = tmp_path_factory.mktemp("bundles") / "bundle"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read_bundle(export_model("nnunet", model, output, Options(folds=folds)))

    return export
