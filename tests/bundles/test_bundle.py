"""Bundles on disk: found, checked against their hashes, whole or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.bundles import make_manifest, write_bundle
from helpers.paths import DATA

from deepseg_lite.bundles.bundle import parse_manifest, read_bundle, select_networks
from deepseg_lite.bundles.files import check_network, read_network
from deepseg_lite.bundles.onnx_metadata import append_manifest
from deepseg_lite.errors import BundleError, BundleNotFoundError, ChecksumError


def _lone_file(folder: Path, manifest: dict | None = None) -> Path:
    network = (DATA / "threshold_3d.onnx").read_bytes()
    file = folder / "model.onnx"
    file.write_bytes(append_manifest(network, json.dumps(manifest or make_manifest())))
    return file


def test_a_directory_is_read(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    assert bundle.name == "tiny_threshold"
    assert bundle.inputs.channel_names == ("t2",)
    assert bundle.sliding_window.patch_size == (8, 8, 8)
    assert bundle.outputs.channel_count == 2
    assert bundle.outputs.max_value == 1
    assert not bundle.lone_file
    assert bundle.size == (DATA / "threshold_3d.onnx").stat().st_size
    assert read_bundle(str(tiny_bundle)) == bundle


def test_regions_have_one_channel_each_and_their_painted_values(tmp_path):
    outputs = read_bundle(write_bundle(tmp_path / "regions", "regions")).outputs
    assert outputs.channel_count == 2
    assert outputs.max_value == 2
    assert outputs.regions_class_order == (1, 2)


def test_networks_are_read_when_their_hash_is_right(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    network = bundle.networks[0]
    assert read_network(bundle, network) == (DATA / "threshold_3d.onnx").read_bytes()
    assert check_network(bundle, network) == tiny_bundle / "threshold_3d.onnx"


def test_a_lone_file_is_a_bundle(tmp_path):
    bundle = read_bundle(_lone_file(tmp_path))
    assert bundle.lone_file
    assert bundle.name == "tiny_threshold"
    network = bundle.networks[0]
    assert bundle.network_path(network) == tmp_path / "model.onnx"
    assert read_network(bundle, network) == (DATA / "threshold_3d.onnx").read_bytes()
    assert check_network(bundle, network) == tmp_path / "model.onnx"


READERS = pytest.mark.parametrize("read", [read_network, check_network])


@READERS
def test_a_changed_lone_file_is_refused(tmp_path, read):
    file = _lone_file(tmp_path)
    data = bytearray(file.read_bytes())
    data[data.index(b"kernel")] ^= 1
    file.write_bytes(data)
    bundle = read_bundle(file)
    with pytest.raises(ChecksumError, match=r"model\.onnx is corrupt or was changed"):
        read(bundle, bundle.networks[0])


def test_a_truncated_lone_file_is_refused(tmp_path):
    file = _lone_file(tmp_path)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(BundleError, match=r"not a readable \.onnx file"):
        read_bundle(file)


def test_a_lone_file_larger_than_any_network_is_not_read(tmp_path):
    """It took as much memory as it has bytes."""
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(BundleError, match="more than 2 GiB, which no ONNX file has"):
        read_bundle(tmp_path / "model.onnx")


def test_a_lone_file_without_manifest_is_refused():
    with pytest.raises(BundleError, match="carries no manifest"):
        read_bundle(DATA / "threshold_3d.onnx")


def test_a_lone_file_holds_one_network_only(tmp_path):
    with pytest.raises(BundleError, match="exactly one network"):
        read_bundle(_lone_file(tmp_path, make_manifest("folds")))


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_nothing_there_is_no_bundle(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleNotFoundError, match=r"is not a bundle: a folder with manifest\.json"):
        read_bundle(tmp_path / name)


NOT_JSON = {
    "empty": b"",
    "cut": b'{"schema": 1,',
    "nan": b'{"schema": NaN}',
    "binary": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "digits": b"9" * 10_000,
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_a_manifest_that_is_not_json_is_refused(tiny_bundle, content):
    (tiny_bundle / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest") as caught:
        read_bundle(tiny_bundle)
    assert "\n" not in str(caught.value)


def test_a_lone_file_whose_manifest_is_not_json_is_refused(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(append_manifest(b"", "{"))
    with pytest.raises(BundleError, match="not JSON"):
        read_bundle(file)


def test_all_problems_of_a_manifest_are_in_the_message(tmp_path):
    folder = write_bundle(tmp_path / "bad", mirror_axes=[9], ensemble="vote")
    with pytest.raises(BundleError, match=r"invalid manifest: .*ensemble: .*; mirror_axes\[0\]: "):
        read_bundle(folder)


@READERS
def test_a_changed_network_is_refused(tiny_bundle, read):
    file = tiny_bundle / "threshold_3d.onnx"
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    bundle = read_bundle(tiny_bundle)
    with pytest.raises(ChecksumError, match=r"threshold_3d\.onnx is corrupt or was changed"):
        read(bundle, bundle.networks[0])


def test_a_truncated_network_is_refused_when_the_bundle_is_read(tiny_bundle):
    file = tiny_bundle / "threshold_3d.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ChecksumError, match=r"threshold_3d\.onnx has 212 bytes.* 213"):
        read_bundle(tiny_bundle)


def test_a_missing_network_is_refused_when_the_bundle_is_read(tiny_bundle):
    (tiny_bundle / "threshold_3d.onnx").unlink()
    with pytest.raises(ChecksumError, match=r"threshold_3d\.onnx is missing"):
        read_bundle(tiny_bundle)


@READERS
def test_a_network_that_goes_away_later_is_refused(tiny_bundle, read):
    bundle = read_bundle(tiny_bundle)
    (tiny_bundle / "threshold_3d.onnx").unlink()
    with pytest.raises(ChecksumError, match="cannot be read"):
        read(bundle, bundle.networks[0])


@pytest.mark.parametrize(
    ("folds", "chosen"),
    [(None, ["0", "1"]), (["1"], ["1"]), (["1", "0"], ["0", "1"])],
    ids=["all", "one", "in-the-bundles-order"],
)
def test_folds_are_selected(folds, chosen):
    bundle = parse_manifest(make_manifest("folds"), Path())
    assert [network.fold for network in select_networks(bundle, folds)] == chosen


@pytest.mark.parametrize(
    ("folds", "named"), [(["7"], "no fold 7"), (["0", "x"], "no fold x"), ([], "none given")]
)
def test_unknown_folds_are_refused_and_the_known_ones_listed(folds, named):
    bundle = parse_manifest(make_manifest("folds"), Path())
    with pytest.raises(BundleError, match=rf"{named}.*it has 0, 1"):
        select_networks(bundle, folds)
