"""Operations of a network, counted by hand, by us and by torch."""

from __future__ import annotations

from typing import Any

import pytest
from deepseg_export.network.conversion import to_onnx
from deepseg_export.network.flops import count_flop, note_flop, read_flop
from helpers.nnunet_models import network_of

from deepseg_lite.bundles.bundle import read_bundle

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
counting = pytest.importorskip("torch.utils.flop_counter")
pytestmark = pytest.mark.export


def counted_by_torch(network: Any, shape: tuple[int, ...]) -> int:
    with counting.FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros((1, *shape)))
    return int(counter.get_total_flops())


def parsed(text: str) -> Any:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]>\n{text}')


def u_net(name: str, dimension: int) -> Any:
    network = network_of(name, dimension, 1, 2, seed=0)
    network.decoder.deep_supervision = False
    return network.eval()


def attention() -> Any:
    pytest.importorskip("einops")
    networks = pytest.importorskip("monai.networks.nets")
    sizes = {"feature_size": 4, "hidden_size": 48, "mlp_dim": 64, "num_heads": 4}
    return networks.UNETR(1, 2, (32, 32, 32), **sizes).eval()


NETWORKS = {
    "plain 3-D": (lambda: u_net("PlainConvUNet", 3), (1, 16, 32, 32)),
    "residual 2-D": (lambda: u_net("ResidualEncoderUNet", 2), (1, 32, 32)),
    "attention": (attention, (1, 32, 32, 32)),
    "groups": (lambda: torch.nn.Conv2d(4, 6, (3, 1), stride=2, groups=2), (4, 9, 8)),
    "transposed groups": (lambda: torch.nn.ConvTranspose2d(4, 6, 2, 2, groups=2), (4, 9, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_counts_the_same(name):
    make, shape = NETWORKS[name]
    network = make()
    assert read_flop(to_onnx(network, shape)) == counted_by_torch(network, shape)


PRODUCTS = {
    "strided convolution": (
        "float[N, 3, 10, 8] image, float[5, 3, 3, 1] weight",
        "Conv <strides = [2, 1]> (image, weight)",
        (5 * 4 * 8) * (3 * 3 * 1),
    ),
    "transposed convolution": (
        "float[N, 3, 10, 8] image, float[3, 5, 2, 2] weight",
        "ConvTranspose <strides = [2, 2]> (image, weight)",
        (3 * 10 * 8) * (5 * 2 * 2),
    ),
    "matrices": ("float[N, 3, 7] image, float[7, 5] weight", "MatMul (image, weight)", 3 * 7 * 5),
    "einsum": (
        "float[N, 3, 7] image, float[7, 5] weight",
        'Einsum <equation = "nij, jk -> nik"> (image, weight)',
        3 * 7 * 5,
    ),
    "gemm": ("float[N, 7] image, float[7, 5] weight", "Gemm (image, weight)", 7 * 5),
    "transposed gemm": (
        "float[N, 7] image, float[5, 7] weight",
        "Gemm <transB = 1> (image, weight)",
        7 * 5,
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_counted_by_hand(name):
    inputs, product, multiply_adds = PRODUCTS[name]
    model = parsed(f"g ({inputs}) => (float logits) {{ logits = {product} }}")
    assert count_flop(model) == 2 * multiply_adds


def test_patches_without_a_size_have_no_count():
    network = torch.nn.Conv2d(1, 2, 3, padding=1)
    assert read_flop(to_onnx(network, (1, None, None))) is None


def test_nothing_to_count_is_no_count():
    text = "g (float[N, 4] image) => (float[N, 4] logits) {logits = Relu (image)}"
    assert count_flop(parsed(text)) is None


def test_what_is_done_for_speed_or_precision_is_not_counted():
    """The count of the original stays with the file, whatever its nodes are by then."""
    model = parsed("g (float[N, 4] image) => (float[N, 4] logits) {logits = Relu (image)}")
    note_flop(model, 12)
    assert read_flop(model.SerializeToString()) == 12


def test_the_manifest_has_the_count(make_model, tmp_path):
    from deepseg_export.exporting import export_model
    from deepseg_export.families.nnunet import Options, load

    model = make_model(configuration="3d_fullres")
    bundle = read_bundle(export_model("nnunet", model, tmp_path / "bundle", Options()))
    checkpoint = load(model, Options(with_torch=True))
    assert [one.flop for one in bundle.networks] == [
        counted_by_torch(network, checkpoint.input_shape)
        for network in checkpoint.networks.values()
    ]
