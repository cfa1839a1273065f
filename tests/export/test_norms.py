"""Norms that depend on the number of channels: what is written of them, without torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.architectures.norms import read_norm
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.architectures.unets import direct_unet, read_plan
from deepseg_export.errors import NoFormError, UnsupportedError
from helpers.dna_networks import described
from helpers.made_up_weights import MadeUpWeights

export = pytest.mark.export
CHANNELS, HEADS = 2, 3


def network_with(
    norm: str, dimension: int = 2, features: Any = (16, 8, 4), **arguments: Any
) -> Any:
    name = arguments.pop("network", "PlainConvUNet")
    path = f"torch.nn.{norm}{dimension}d" if norm.startswith("Lazy") else f"torch.nn.{norm}"
    plan = described(
        name,
        dimension,
        norm_op=path,
        features_per_stage=list(features),
        norm_op_kwargs={},
        **arguments,
    )
    return direct_unet(name, read_plan(name, plan["arch_kwargs"]), HEADS, MadeUpWeights())


def written(network: Any, patch: Sequence[int] | None = None) -> Any:
    pytest.importorskip("onnx")
    from deepseg_export.architectures.onnx_file import write_onnx

    size = tuple(patch or network.patch)
    return write_onnx(network, (CHANNELS, *size), (HEADS, *size))


@export
@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm", "LazyBatchNorm", "LazyInstanceNorm"])
def test_onnxruntime_computes_what_numpy_does(norm, dimension, network):
    from deepseg_export.architectures.checking import check_direct

    direct = network_with(norm, dimension, network=network)
    shapes = (CHANNELS, *direct.patch), (HEADS, *direct.patch)
    assert check_direct(direct, written(direct), *shapes).max_rel_error < 1e-5


def normalised(norm: str, maps: Any, axes: int = 2, **arguments: Any) -> Any:
    read = read_norm(f"torch.nn.{norm}", arguments, axes)
    assert read is not None
    given = {"weight": 2.0, "bias": 5.0, "running_mean": 3.0, "running_var": 8.0}
    return read.on(NumpyLayers(axes), maps, lambda name, shape: np.full(shape, given[name]))


def test_values_of_the_last_axis_are_normalised_each_row_by_itself(rng):
    maps = rng.normal(3, 2, (2, 7, 4, 7))
    layer = normalised("LayerNorm", maps, eps=0.0)
    np.testing.assert_allclose(layer.mean(-1), 5)
    np.testing.assert_allclose(layer.std(-1), 2)
    np.testing.assert_allclose(normalised("LayerNorm", maps, eps=0.0, bias=False), layer - 5)
    root = normalised("RMSNorm", maps, eps=0.0)
    np.testing.assert_allclose((root**2).mean(-1), 4)
    plain = normalised("RMSNorm", maps, eps=0.25, elementwise_affine=False)
    np.testing.assert_allclose(plain, maps / np.sqrt((maps**2).mean(-1, keepdims=True) + 0.25))
    with pytest.raises(ValueError, match="a last axis of 6 voxels where 7 are needed"):
        normalised("LayerNorm", maps[..., :6])


def test_lazy_norms_have_the_number_of_channels_for_epsilon(rng):
    maps = rng.normal(3, 2, (2, 8, 4, 5))
    recorded = 2 * (maps - 3) / np.sqrt(8 + 8) + 5
    np.testing.assert_allclose(normalised("LazyBatchNorm2d", maps), recorded)
    np.testing.assert_allclose(normalised("LazyInstanceNorm2d", maps), recorded)
    by_itself = normalised("LazyInstanceNorm2d", maps, affine=False, track_running_stats=False)
    variance = maps.var((2, 3))
    np.testing.assert_allclose(by_itself.var((2, 3)), variance / (variance + 8))


@export
@pytest.mark.parametrize(
    ("patch", "arguments", "found"),
    [
        ((32, 32), {}, "maps of 16 channels have 32"),
        ((32, 16), {"features": (16, 8, 8)}, "maps of 8 channels have 4"),
        ((32, 16), {"features": (16, 16, 16)}, "maps of 16 channels have 8"),
        ((32, 16), {"features": (1, 1, 1)}, "maps of 1 channels have 16"),
        ((32, 16), {"network": "ResidualEncoderUNet", "stem_channels": 8}, "of 8 channels have 16"),
    ],
)
@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm"])
def test_another_length_than_the_number_of_channels_is_refused(norm, patch, arguments, found):
    with pytest.raises(UnsupportedError, match=f"{found}, which PyTorch refuses, too") as refused:
        written(network_with(norm, **arguments), patch)
    assert "\n" not in str(refused.value)


def form_of(network: Any, folder: Path, dimension: int) -> Any:
    from deepseg_export.network.rows import making as rows
    from deepseg_export.network.slices import making as slices

    path = folder / "model.onnx"
    path.write_bytes(b"".join(written(network).parts()))
    making = rows if dimension == 2 else slices
    return making.make_form(path, folder / f"model.{making.FORM}.onnx")


@export
def test_networks_that_normalise_the_last_axis_have_no_form_in_slices(tmp_path):
    network = network_with("LayerNorm", 3, (32, 16, 8))
    with pytest.raises(NoFormError, match="it normalises the last axis of its maps"):
        form_of(network, tmp_path, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@export
@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm", "LazyInstanceNorm"])
def test_their_form_in_rows_computes_the_same(tmp_path, caplog, norm):
    caplog.set_level(logging.INFO)
    network = network_with(norm, 2, (64, 64, 64), strides=[1, [2, 1], [2, 1]])
    assert form_of(network, tmp_path, 2).max_rel_error < 1e-5
    assert "of the multiplications saved" in caplog.text
