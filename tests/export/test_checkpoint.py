"""Checkpoints that torch wrote are read as torch reads them, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.reading.checkpoint import load_checkpoint, read_saved
from deepseg_export.reading.records import Record
from helpers.paths import SHARED

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]

GENUINE = sorted((SHARED / "checkpoints").rglob("*.pth"))
DTYPES = (
    *("float16", "float32", "float64", "bfloat16", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
both = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])


def same(found: Any, expected: Any, place: str = "") -> int:
    """Check that what was read is what torch gives; return how many tensors there are."""
    if isinstance(expected, torch.Tensor):
        expected = expected.detach()
        expected = (expected.float() if expected.dtype == torch.bfloat16 else expected).numpy()
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), place
        assert found.tobytes() == expected.tobytes(), place
        return 1
    if isinstance(expected, Mapping):
        assert list(found) == list(expected), place
        return sum(same(found[key], value, f"{place}.{key}") for key, value in expected.items())
    if isinstance(expected, (list, tuple)) and not isinstance(expected, torch.Size):
        assert type(found) is type(expected), place
        pairs = zip(found, expected, strict=True)
        return sum(same(one, other, f"{place}[{i}]") for i, (one, other) in enumerate(pairs))
    if isinstance(expected, torch.device):
        assert found == str(expected), place
    elif isinstance(expected, torch.Size):
        assert found == tuple(expected), place
    elif isinstance(found, Record):
        named = expected if isinstance(expected, type) else type(expected)
        assert found.name in (f"{named.__module__}.{named.__qualname__}", repr(expected)), place
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype, place
        np.testing.assert_array_equal(found, expected)
    else:
        assert type(found) is type(expected), place
        assert found == expected, place
    return 0


def check(path: Path, content: Any, legacy: bool = False) -> int:
    """Have torch write and read a file, and read it here."""
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    expected = torch.load(path, map_location="cpu", weights_only=False)
    return same(read_saved(path), expected)


@both
@pytest.mark.parametrize("name", DTYPES)
def test_every_type_of_numbers(tmp_path, name, legacy):
    if legacy and name in ("uint16", "uint32", "uint64"):
        pytest.skip("torch does not write these in the old container")
    dtype = getattr(torch, name)
    torch.manual_seed(0)
    numbers = torch.randint(0, 256, (6 * 16,), dtype=torch.uint8)
    plain = (numbers > 99) if name == "bool" else numbers.view(dtype)
    plain = plain[: len(plain) // 6 * 6].reshape(2, 3, -1)
    content = {
        "plain": plain,
        "scalar": plain[1, 2, 0],
        "empty": torch.empty(0, 4, dtype=dtype),
        "of its own": plain[1, 2, 0].clone(),
        "transposed": plain.permute(2, 0, 1),
        "every second": plain[:, ::2],
        "offset": plain[1:, 1],
        "again": plain,
        "expanded": torch.zeros(1, dtype=dtype),
    }
    assert check(tmp_path / "a.pth", content, legacy) == len(content)


def test_bfloat16_is_exact(tmp_path):
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    torch.save({"every": every}, tmp_path / "a.pth")
    found = load_checkpoint(tmp_path / "a.pth")["every"]
    assert (found.view(np.uint32) >> 16).tolist() == list(range(2**16))
    assert not (found.view(np.uint32) & 0xFFFF).any()


@both
def test_shared_storages_stay_shared(tmp_path, legacy):
    whole = torch.arange(10.0)
    torch.save(
        {"a": whole[2:5], "b": whole[4:]},
        tmp_path / "a.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    read = load_checkpoint(tmp_path / "a.pth")
    assert np.shares_memory(read["a"], read["b"])
    assert (read["a"].tolist(), read["b"][0]) == ([2, 3, 4], 4)


def _network() -> Any:
    nn = torch.nn
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.InstanceNorm3d(4, affine=True))


@both
def test_states_of_networks(tmp_path, legacy):
    network = _network()
    network.register_buffer("counts", torch.arange(4))
    content = {
        "state": network.state_dict(),
        "parameters": list(network.parameters()),
        "half": {key: value.half() for key, value in network.state_dict().items()},
        "sizes": network[0].weight.shape,
        "type": torch.float32,
    }
    assert check(tmp_path / "a.pth", content, legacy) == 10 + 6 + 10


@both
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_checkpoints_of_lightning(tmp_path, optimizer, legacy):
    network = _network()
    more = {"momentum": 0.9, "nesterov": True} if optimizer == "SGD" else {"amsgrad": True}
    stepper = getattr(torch.optim, optimizer)(network.parameters(), 0.01, **more)
    schedule = torch.optim.lr_scheduler.MultiStepLR(stepper, [3, 5, 5])
    for _ in range(2):
        network(torch.randn(2, 1, 5, 5, 5)).square().sum().backward()
        stepper.step()
        schedule.step()
    content = {
        "epoch": 1,
        "global_step": 2,
        "pytorch-lightning_version": "2.0.0",
        "state_dict": {f"net.{key}": value for key, value in network.state_dict().items()},
        "optimizer_states": [stepper.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best": torch.tensor(0.5)}},
        "hyper_parameters": {"size": np.array([1, 2]), "rate": np.float32(0.1), "path": Path("x")},
    }
    assert check(tmp_path / "a.ckpt", content, legacy) >= 16


@both
def test_checkpoints_of_nnunet(tmp_path, legacy):
    from helpers.nnunet_models import checkpoint_content

    content = checkpoint_content(_network().state_dict(), "3d_fullres")
    assert check(tmp_path / "a.pth", content, legacy) >= 10


def test_whole_networks(tmp_path):
    torch.save(_network(), tmp_path / "a.pt")
    read = read_saved(tmp_path / "a.pt")
    assert read.name == "torch.nn.modules.container.Sequential"
    expected = torch.load(tmp_path / "a.pt", weights_only=False)
    layers = read.state["_modules"]
    assert [layer.name for layer in layers.values()] == [
        f"{type(layer).__module__}.{type(layer).__name__}" for layer in expected
    ]
    for layer, other in zip(layers.values(), expected, strict=True):
        assert same(layer.state["_parameters"], other._parameters) == 2


@pytest.mark.skipif(not GENUINE, reason="no genuine checkpoints beside the repository")
@pytest.mark.parametrize("file", GENUINE, ids=lambda file: "/".join(file.parts[-4:]))
def test_genuine_checkpoints(file):
    expected = torch.load(file, map_location="cpu", weights_only=False)
    assert same(load_checkpoint(file), expected) > 20
