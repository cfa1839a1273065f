"""The detector bundle of sc-crop's networks, with stand-ins for them."""

from __future__ import annotations

import hashlib
import json

import pytest
from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.families.sc_crop import OFFICIAL_SHA256, export_cord_detector
from helpers.detector import FILES
from helpers.paths import DATA

from deepseg_lite.bundles.detector import read_detector
from deepseg_lite.bundles.files import read_network
from deepseg_lite.errors import OutputError

DETECTOR, CLASSIFIER = (DATA / file for file in FILES.values())


def _expected(*files):
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return dict(zip(OFFICIAL_SHA256, digests, strict=True))


@pytest.fixture
def output(tmp_path):
    return tmp_path / "sc_crop"


def _export(output, detector=DETECTOR, classifier=CLASSIFIER, **options):
    expected = _expected(detector, classifier)
    return export_cord_detector(detector, classifier, output, expected=expected, **options)


def test_the_bundle_holds_the_files_as_they_are(output):
    assert _export(output) == output
    bundle = read_detector(output)
    assert (bundle.name, bundle.version) == ("sc_crop", "v0.0.11")
    found = [read_network(bundle, network) for network in bundle.networks]
    assert found == [DETECTOR.read_bytes(), CLASSIFIER.read_bytes()]
    assert bundle.settings.letterbox == "minimum_rectangle"
    assert bundle.manifest["source"]["files"] == _expected(DETECTOR, CLASSIFIER)


def test_the_card_says_what_the_licence_is(output):
    card = (_export(output) / "README.md").read_text(encoding="utf-8")
    assert json.loads((output / "manifest.json").read_text())["source"]["license"] is None
    for words in ("Licence of the weights: not stated", "AGPL-3.0", "Do not pass these files on"):
        assert words in card


def test_a_detector_of_one_size_gets_square_pictures(output, tmp_path):
    pytest.importorskip("onnx", reason="making the network needs the onnx package")
    from helpers import detector as stand_in_detector

    static = tmp_path / "static.onnx"
    static.write_bytes(stand_in_detector.detector(320))
    assert read_detector(_export(output, static)).settings.letterbox == "square"


def test_other_files_than_the_official_ones_are_refused(output):
    with pytest.raises(CheckpointError, match=r"det_model\.onnx of sc-crop v0\.0\.11 has 052abe"):
        export_cord_detector(DETECTOR, CLASSIFIER, output)
    assert not output.exists()


def test_a_missing_file_is_told(output, tmp_path):
    expected = _expected(DETECTOR, CLASSIFIER)
    with pytest.raises(CheckpointError, match="cannot be read"):
        export_cord_detector(DETECTOR, tmp_path / "none.onnx", output, expected=expected)
    assert not output.exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((CLASSIFIER, CLASSIFIER), r"det_model\.onnx returns .*\(1, 2\).*\(1, N, 6\) is needed"),
        ((DETECTOR, DETECTOR), r"cls_model\.onnx returns .*\(1, 2, 6\).*\(1, 2\) is needed"),
        ((DATA / "threshold_3d.onnx", CLASSIFIER), r"det_model\.onnx is not a network of one"),
        ((DATA / "README.md", CLASSIFIER), r"det_model\.onnx is not a network of one"),
    ],
    ids=["swapped", "twice", "another network", "no network"],
)
def test_networks_that_do_something_else_are_refused(output, files, message, capfd):
    with pytest.raises(UnsupportedError, match=message) as caught:
        _export(output, *files)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not output.exists()


def test_nothing_is_overwritten_unasked(output):
    _export(output)
    with pytest.raises(OutputError, match="exists"):
        _export(output)
    assert _export(output, force=True) == output
