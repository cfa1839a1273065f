"""Networks that are written without torch, against those that torch builds of the same plans."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.architectures.checking import check_direct as check_written
from deepseg_export.architectures.network import DirectNetwork, small_patch
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.architectures.onnx_file import write_onnx
from deepseg_export.architectures.unets import direct_unet, read_plan
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.families.nnunet import Options, load
from deepseg_export.families.nnunet.network import (
    check_direct,
    direct_network,
    read_architecture,
)
from deepseg_export.families.nnunet.torch_network import build_network
from deepseg_export.network.conversion import to_onnx
from deepseg_export.network.verify import open_session, padded, run
from helpers.dna_networks import (
    NONLINEARITIES,
    built,
    described,
    random_plan,
    randomised,
    state_of,
)
from helpers.nnunet_models import write_model

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("dynamic_network_architectures")
pytestmark = pytest.mark.export

CHECKPOINTS = Path(__file__).parents[3] / "shared" / "checkpoints"
FOLDERS = sorted(
    file.parents[1].relative_to(CHECKPOINTS).as_posix()
    for file in CHECKPOINTS.rglob("fold_*/checkpoint_final.pth")
    if file.parent == sorted(file.parents[1].glob("fold_*"))[0]
)
CHANNELS, HEADS = 2, 3


def direct(plan: Mapping[str, Any], network: Any) -> DirectNetwork:
    architecture = read_architecture({"architecture": plan})
    check_direct(architecture)
    return direct_network(architecture, CHANNELS, HEADS, state_of(network), "a file")


def noise(network: DirectNetwork, dtype: Any = np.float32) -> list[Any]:
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((2, CHANNELS, *network.patch), np.float32).astype(dtype)
    return [batch, padded(batch[1:])]


def of_torch(network: Any, batch: Any) -> Any:
    with torch.inference_mode():
        return network(torch.from_numpy(batch)).numpy()


def computes_the_same(network: Any, written: DirectNetwork, *, alone: bool = False) -> None:
    """Compare in float64, where a difference is no rounding; items of a batch ``alone`` or not."""
    network.double()
    for batch in noise(written, np.float64):
        batch = batch[:1] if alone else batch
        found = written.on(NumpyLayers(len(written.patch)), batch)
        expected = of_torch(network, batch)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def gives_the_same(first: bytes, second: bytes, batches: list[Any]) -> None:
    """Compare two files in ONNX Runtime."""
    sessions = [open_session(data) for data in (first, second)]
    for batch in batches:
        found, expected = (run(session, batch) for session in sessions)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("seed", range(60))
def test_whatever_plans_describe_is_computed_as_torch_does(seed):
    plan = random_plan(seed)
    network = built(plan, CHANNELS, HEADS, seed)
    computes_the_same(network, direct(plan, network))


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_every_nonlinearity_is_that_of_torch(name):
    plan = described(
        dimension=2, nonlin=f"torch.nn.{name}", nonlin_kwargs=NONLINEARITIES[name], norm_op=None
    )
    network = built(plan, CHANNELS, HEADS, 0)
    written = direct(plan, network)
    if name in ("GELU", "Hardsigmoid", "Mish", "SELU"):  # whose constants torch has in float32
        network.float()
        batch = noise(written)[0]
        expected = of_torch(network, batch)
        found = written.on(NumpyLayers(2), batch)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    computes_the_same(network, written)


@pytest.mark.parametrize(
    "norm", ["torch.nn.SyncBatchNorm", "torch.nn.modules.batchnorm.BatchNorm2d"]
)
def test_statistics_of_training_are_used(norm):
    plan = described(dimension=2, norm_op=norm, norm_op_kwargs={"eps": 1e-2, "momentum": 0.3})
    network = built(plan, CHANNELS, HEADS, 0)
    computes_the_same(network, direct(plan, network))


NORMS = {
    "GroupNorm": [{"num_channels": 8}, {"num_channels": 16, "affine": False, "eps": 1e-3}],
    "LocalResponseNorm": [{"alpha": 2.0, "k": 0.5}, {}],
    "CrossMapLRN2d": [{"alpha": 2.0, "beta": 0.5}],
}


@pytest.mark.parametrize("features", [[8, 8, 8], [4, 8, 16], [3, 5, 7]])
@pytest.mark.parametrize(("norm", "number"), [(n, i) for n in NORMS for i in range(len(NORMS[n]))])
def test_norms_are_those_of_torch_where_the_original_can_build_them(norm, number, features):
    keywords = NORMS[norm][number]
    path = "torch.nn.modules.normalization." + norm
    plan = described(
        dimension=2, norm_op=path, norm_op_kwargs=keywords, features_per_stage=features
    )
    try:
        network = built(plan, CHANNELS, HEADS, 0)
        of_torch(network, noise(direct(plan, network))[0])
    except (ValueError, RuntimeError, CheckpointError):
        assert norm == "GroupNorm"  # which has groups of one channel, and one number of channels
        assert features != [8, 8, 8]
        return
    written = direct(plan, network)
    given, result = (CHANNELS, *written.patch), (HEADS, *written.patch)
    if norm != "CrossMapLRN2d":  # which torch cannot convert
        data = b"".join(write_onnx(written, given, result).parts())
        gives_the_same(data, to_onnx(network, given), noise(written))
    computes_the_same(network, written)


LAST_AXIS_NORMS: dict[str, list[dict[str, Any]]] = {
    "LayerNorm": [{}, {"eps": 1e-2, "bias": False}, {"elementwise_affine": False}],
    "RMSNorm": [{}, {"eps": 1e-2, "elementwise_affine": False}],
}
"""Their axis has as many voxels as there are channels."""
LAZY_NORMS: dict[str, list[dict[str, Any]]] = {
    "LazyBatchNorm": [{}, {"affine": False, "momentum": 0.3}],
    "LazyInstanceNorm": [{}, {"track_running_stats": False, "bias": False}],
}
"""They take the number of channels for epsilon."""
OTHER_NORMS = [
    (norm, i) for norm, all in (LAST_AXIS_NORMS | LAZY_NORMS).items() for i in range(len(all))
]


def with_norm(norm: str, number: int, dimension: int, network: str) -> dict[str, Any]:
    keywords = (LAST_AXIS_NORMS | LAZY_NORMS)[norm][number]
    if norm in LAZY_NORMS:
        path = f"torch.nn.{norm}{dimension}d"
        return described(network, dimension, norm_op=path, norm_op_kwargs=keywords)
    shapes: dict[str, Any] = {"features_per_stage": [16, 8, 4]}
    if number % 2:  # the last axis is never halved
        strides = [1, [2] * (dimension - 1) + [1], 1]
        shapes = {"features_per_stage": [12, 12, 12], "strides": strides}
    path = f"torch.nn.modules.normalization.{norm}"
    return described(network, dimension, norm_op=path, norm_op_kwargs=keywords, **shapes)


@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet"])
@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize(("norm", "number"), OTHER_NORMS)
def test_norms_that_depend_on_the_number_of_channels(norm, number, dimension, network):
    plan = with_norm(norm, number, dimension, network)
    if norm == "RMSNorm":  # whose usual epsilon is that of the type
        plan["arch_kwargs"]["norm_op_kwargs"] = {
            "eps": 1e-3,
            **plan["arch_kwargs"]["norm_op_kwargs"],
        }
    original = built(plan, CHANNELS, HEADS, 0)
    computes_the_same(original, direct(plan, original))


@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("norm", [*LAST_AXIS_NORMS, *LAZY_NORMS])
def test_files_with_such_norms_give_what_those_of_torch_give(norm, dimension, network):
    plan = with_norm(norm, 0, dimension, network)
    original = built(plan, CHANNELS, HEADS, 0)
    written = direct(plan, original)
    given, result = (CHANNELS, *written.patch), (HEADS, *written.patch)
    data = b"".join(write_onnx(written, given, result).parts())
    gives_the_same(data, to_onnx(original, given), noise(written))


WITHOUT = {"affine": False, "track_running_stats": False}


@pytest.mark.parametrize(
    ("norm", "keywords"),
    [
        ("InstanceNorm2d", {"affine": True, "bias": False}),
        ("BatchNorm2d", {"bias": False, "device": "cpu"}),
        ("GroupNorm", {"num_channels": 8, "bias": False}),
        ("InstanceNorm3d", {}),  # all maps of an item together
        ("LazyInstanceNorm3d", WITHOUT),
        ("BatchNorm2d", {"track_running_stats": False}),
        ("SyncBatchNorm", WITHOUT),
        ("LazyBatchNorm2d", {"track_running_stats": False}),
    ],
)
def test_norms_with_other_settings(norm, keywords):
    plan = described(
        dimension=2,
        features_per_stage=[8, 8, 8],
        norm_op=f"torch.nn.{norm}",
        norm_op_kwargs=keywords,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of maps taken for a batch
        original = built(plan, CHANNELS, HEADS, 0)
        written = direct(plan, original)
        computes_the_same(original, written, alone="Batch" in norm)
        given, result = (CHANNELS, *written.patch), (HEADS, *written.patch)
        file = write_onnx(written, given, result)
        assert check_written(written, file, given, result).max_rel_error < 1e-5


@pytest.mark.parametrize(
    ("norm", "keywords", "message"),
    [
        ("SyncBatchNorm", WITHOUT, "mixes the items of a batch; leave --with torch"),
        ("LazyBatchNorm3d", {}, "has lazy layers, which have no weights before they run"),
    ],
)
def test_some_norms_are_refused_where_torch_exports_them(norm, keywords, message):
    plan = described(norm_op=f"torch.nn.{norm}", norm_op_kwargs=keywords)
    architecture = read_architecture({"architecture": plan})
    state = state_of(built(plan, CHANNELS, HEADS, 0))
    with pytest.raises(UnsupportedError, match=message):
        build_network(architecture, CHANNELS, HEADS, state, "a file")


OF_TORCH_ALONE = {"GLU", "MultiheadAttention"}


def test_every_nonlinearity_and_norm_of_torch_is_taken_or_listed():
    from torch.nn.modules import activation, normalization

    taken = {**NONLINEARITIES, "Softmax2d": {}}
    assert set(activation.__all__) - OF_TORCH_ALONE == set(taken) - {"Identity"}
    assert set(normalization.__all__) == {*NORMS, *LAST_AXIS_NORMS}


def test_a_softmax_of_two_axes_is_that_of_torch():
    plan = described(dimension=2, nonlin="torch.nn.Softmax2d", nonlin_kwargs={}, norm_op=None)
    network = built(plan, CHANNELS, HEADS, 0)
    computes_the_same(network, direct(plan, network))


@pytest.mark.parametrize("seed", range(100, 108))
def test_the_file_gives_what_that_of_torch_gives(seed):
    plan = random_plan(seed)
    if plan["arch_kwargs"]["nonlin"] and plan["arch_kwargs"]["nonlin"].endswith("RReLU"):
        pytest.skip("torch cannot convert RReLU")
    network = built(plan, CHANNELS, HEADS, seed)
    written = direct(plan, network)
    given, result = (CHANNELS, *written.patch), (HEADS, *written.patch)
    data = b"".join(write_onnx(written, given, result).parts())
    gives_the_same(data, to_onnx(network, given), noise(written))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_folders_of_every_kind_give_what_torch_gives(tmp_path, configuration, name, legacy):
    model = write_model(tmp_path, configuration=configuration, network=name, legacy=legacy)
    agrees_with_torch(model)


@pytest.mark.parametrize("folder", FOLDERS or [pytest.param("", id="no shared checkpoints")])
def test_trained_networks_give_what_torch_gives(folder):
    if not folder:
        pytest.skip("../shared/checkpoints is not here")
    agrees_with_torch(CHECKPOINTS / folder)


def agrees_with_torch(model: Path) -> None:
    written, original = (load(model, Options(with_torch=by_torch)) for by_torch in (False, True))
    assert (written.input_shape, written.output_shape) == (
        original.input_shape,
        original.output_shape,
    )
    fold = next(iter(written.networks))
    file = write_onnx(written.networks[fold], written.input_shape, written.output_shape)
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((1, *written.input_shape), np.float32)  # type: ignore[arg-type]
    gives_the_same(
        b"".join(file.parts()),
        to_onnx(original.networks[fold], original.input_shape),
        [batch, padded(batch)],
    )


def residual_network(pool: str, *, squeezes: bool, dimension: int) -> tuple[Any, dict[str, Any]]:
    """Build a network of parts that the classes of U-Nets leave at their usual settings."""
    from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
    from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
    from torch import nn

    more = {"pool_type": pool, "squeeze_excitation": squeezes, "stochastic_depth_p": 0.2}
    plan = described("ResidualEncoderUNet", dimension, **more)["arch_kwargs"]
    conv, norm = getattr(nn, f"Conv{dimension}d"), getattr(nn, f"InstanceNorm{dimension}d")

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            arguments = {**plan, "conv_op": conv, "norm_op": norm, "nonlin": nn.LeakyReLU}
            blocks = arguments.pop("n_conv_per_stage_decoder")
            self.encoder = ResidualEncoder(CHANNELS, return_skips=True, **arguments)
            self.decoder = UNetDecoder(self.encoder, HEADS, blocks, False)

        def forward(self, image: Any) -> Any:
            return self.decoder(self.encoder(image))

    return randomised(Network()), plan


@pytest.mark.parametrize("squeezes", [False, True])
@pytest.mark.parametrize("pool", ["conv", "max", "avg"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_poolings_and_weighted_channels(dimension, pool, squeezes):
    network, arguments = residual_network(pool, squeezes=squeezes, dimension=dimension)
    plan = read_plan("ResidualEncoderUNet", arguments)
    weights = Weights(state_of(network), "a file")
    computes_the_same(network, direct_unet("ResidualEncoderUNet", plan, HEADS, weights))


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_poolings_of_plain_encoders(pool):
    from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
    from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
    from torch import nn

    arguments = described(dimension=2, pool=pool)["arch_kwargs"]
    classes = {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d, "nonlin": nn.LeakyReLU}
    given = {**arguments, **classes}
    blocks = given.pop("n_conv_per_stage_decoder")
    encoder = PlainConvEncoder(CHANNELS, return_skips=True, **given)
    decoder = UNetDecoder(encoder, HEADS, blocks, False)
    both = nn.Sequential()
    both.add_module("encoder", encoder)
    both.add_module("decoder", decoder)
    weights = Weights(state_of(randomised(both)), "a file")
    plan = read_plan("PlainConvUNet", arguments)
    computes_the_same(both, direct_unet("PlainConvUNet", plan, HEADS, weights))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm_op": "torch.nn.LazyBatchNorm2d"}, "LazyBatchNorm2d of 3-D maps .*--with torch"),
        ({"norm_op": "torch.nn.LazyBatchNorm3d", "norm_op_kwargs": {"eps": 1e-5}},
         "LazyBatchNorm3d takes the number of channels for eps, and no other"),
        ({"norm_op": "torch.nn.GroupNorm", "norm_op_kwargs": {"num_groups": 4}},
         "GroupNorm has no argument num_groups"),
        ({"norm_op": "torch.nn.InstanceNorm2d"}, "InstanceNorm2d of 3-D maps"),
        ({"conv_op": "torch.nn.Conv2d", "kernel_sizes": 3, "strides": [1, 2, 2],
          "norm_op": "torch.nn.InstanceNorm3d"}, "takes the items of a batch of 2-D maps"),
        ({"norm_op_kwargs": {"gain": 1}}, "InstanceNorm3d has no argument gain"),
        ({"nonlin": "torch.nn.GLU"}, "nonlin torch.nn.GLU is unknown.*--with torch"),
        ({"nonlin": "os.system"}, "nonlin is 'os.system', which is not of torch.nn"),
        ({"dropout_op": "torch.nn.ReLU"}, "dropout_op torch.nn.ReLU is not a dropout of maps"),
        ({"conv_op": "torch.nn.Conv1d"}, "Conv1d is not Conv2d or Conv3d"),
        ({"novelty": 3}, "PlainConvUNet has no argument novelty; .*--with torch"),
        ({"strides": [1, 2]}, "strides has 2 entries for 3 stages"),
        ({"kernel_sizes": [[3, 3]] * 3}, "kernel_sizes has an entry for 2 axes of 3"),
        ({"features_per_stage": [4, 6, -8]}, "features_per_stage is -8; whole numbers above 0"),
        ({"n_stages": 1, "strides": 1, "kernel_sizes": 3, "features_per_stage": 4,
          "n_conv_per_stage": 1, "n_conv_per_stage_decoder": []}, "1 stages .* no U-Net"),
        ({"n_conv_per_stage": 60_000}, "3 stages with 180000 blocks are no U-Net"),
    ],
)  # fmt: skip
def test_what_is_unknown_is_refused_by_name(arguments, message):
    with pytest.raises(UnsupportedError, match=message):
        check_direct(read_architecture({"architecture": described(**arguments)}))


def test_other_classes_of_networks_are_left_to_torch():
    plan = {**described(), "network_class_name": "dynamic_network_architectures.primus.PrimusM"}
    with pytest.raises(UnsupportedError, match=r"PrimusM' is none of PlainConvUNet.*--with torch"):
        check_direct(read_architecture({"architecture": plan}))


def test_names_of_one_layer_must_agree():
    plan = described(dimension=2)
    architecture = read_architecture({"architecture": plan})
    state = {name: values.copy() for name, values in state_of(built(plan, 2, 3, 0)).items()}
    direct_network(architecture, CHANNELS, HEADS, state, "a file")  # equal copies do
    state["decoder.encoder.stages.0.0.convs.0.conv.weight"][0] += 1
    with pytest.raises(CheckpointError, match="a file has two different arrays for one layer"):
        direct_network(architecture, CHANNELS, HEADS, state, "a file")


def test_weights_of_another_network_are_refused():
    plan = described(dimension=2)
    architecture = read_architecture({"architecture": plan})
    state = state_of(built(plan, CHANNELS, HEADS, 0))
    with pytest.raises(CheckpointError, match="no layer has: stranger"):
        direct_network(architecture, 2, 3, {**state, "stranger": np.ones(3)}, "a file")
    with pytest.raises(CheckpointError, match=r"shape \(4, 2, 3, 3\), 4 x 1 x 3 x 3 is needed"):
        direct_network(architecture, 1, 3, state, "a file")
    less = {name: values for name, values in state.items() if "seg_layers.1" not in name}
    with pytest.raises(CheckpointError, match=r"seg_layers.1.weight is missing"):
        direct_network(architecture, 2, 3, less, "a file")


def test_nothing_is_copied_into_the_layers():
    plan = described(dimension=2)
    state = state_of(built(plan, CHANNELS, HEADS, 0))
    network = direct_network(read_architecture({"architecture": plan}), 2, 3, state, "a file")
    file = write_onnx(network, (2, *network.patch), (3, *network.patch))
    places = {values.ctypes.data for values in state.values()}
    assert all(values.ctypes.data in places for values in file.weights.values())
    parts = [part for part in file.parts() if isinstance(part, memoryview)]
    assert {np.frombuffer(part, np.uint8).ctypes.data for part in parts} <= places
    assert sum(len(part) for part in parts) == sum(each.nbytes for each in file.weights.values())


@pytest.mark.parametrize(
    ("divisors", "patch"),
    [
        ((32, 32, 32), (64, 32, 32)),
        ((1, 64, 64), (2, 64, 64)),
        ((4, 4), (64, 64)),
        ((1, 2), (64, 64)),
    ],
)
def test_small_patches_leave_more_than_one_voxel(divisors, patch):
    assert small_patch(divisors) == patch


def test_weights_of_a_mapped_file_are_still_there_when_their_pages_are_forgotten(tmp_path):
    values = np.arange(100_000, dtype="<f4")
    values.tofile(tmp_path / "weights")
    with (tmp_path / "weights").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    weights = Weights({"a": np.frombuffer(memoryview(mapped)[40:], "<f4")}, "a file")
    weights.forget_pages()
    np.testing.assert_array_equal(weights.take("a"), values[10:])
