"""``deepseg-lite verify``: counts, receipts, exit codes, and what the lists say afterwards."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.bundles import make_data
from helpers.paths import DATA
from helpers.references import (
    HIGH,
    THRESHOLD,
    add_reference,
    change_manifest,
    use_other_network,
    write_reference_bundle,
)

from deepseg_lite.bundles.schemas import schema_problems
from deepseg_lite.store import receipts

VOXELS = make_data().size


@pytest.fixture
def bundle(tmp_path):
    """Return a bundle directory with a reference."""
    return write_reference_bundle(tmp_path / "made")


def test_a_machine_that_gives_the_labels_says_so(command, bundle, tmp_path):
    written = tmp_path / "out" / "receipt.json"
    done = command("verify", bundle, "--device", "cpu", "-o", written)
    assert (done.code, done.err) == (0, "")
    assert f"gives the original's result: 0 of {VOXELS:,} voxels differ." in done.out
    assert done.out.endswith(f"{written}\n")
    receipt = json.loads(written.read_text(encoding="utf-8"))
    assert schema_problems("receipt", receipt) == []
    (row,) = receipt["references"]
    assert (row["differing"], row["voxels"], row["bound"], row["within"]) == (0, VOXELS, 0, True)
    found = int((make_data() > THRESHOLD).sum())
    counts = {"original": found, "here": found, "differing": 0, "dice": 1.0}
    assert row["labels"] == [{"label": "cord", **counts}]
    assert receipt["engine"]["device"] == "cpu"


def test_a_network_that_computes_something_else_ends_in_4(command, bundle):
    use_other_network(bundle, DATA / "threshold_3d_high.onnx")
    done = command("verify", bundle, "--device", "cpu", "--json")
    assert done.code == 4
    (row,) = json.loads(done.out)["references"]
    data = make_data()
    assert row["differing"] == ((data > THRESHOLD) & (data <= HIGH)).sum() > 0
    assert row["within"] is False
    told = command("verify", bundle, "--device", "cpu")
    assert "does not give the original's result" in told.out
    assert receipts.verified(bundle) == []


def test_the_bound_is_the_last_number_that_is_allowed(command, bundle):
    use_other_network(bundle, DATA / "threshold_3d_high.onnx")
    data = make_data()
    count = int(((data > THRESHOLD) & (data <= HIGH)).sum())
    for bound, code in ((count, 0), (count - 1, 4)):
        change_manifest(
            bundle, lambda m, bound=bound: m["references"][0].update(bounds={"fp32": bound})
        )
        assert command("verify", bundle, "--device", "cpu").code == code


def test_a_precision_without_a_bound_is_neither(command, bundle):
    change_manifest(bundle, lambda m: m["references"][0].update(bounds={"int8": 3}))
    done = command("verify", bundle, "--device", "cpu", "--json")
    assert done.code == 0
    assert json.loads(done.out)["within"] is None
    told = command("verify", bundle, "--device", "cpu")
    assert "does not say how many may, in fp32" in told.out
    assert receipts.verified(bundle) == []


@pytest.mark.parametrize("name", ["case.nii.gz", "case_labels.nii.gz"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_reference_is_one_clear_line_and_no_matter_for_a_run(
    command, bundle, image_file, name, damage
):
    file = bundle / "reference" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content) if damage == "changed" else file.unlink()
    done = command("verify", bundle, "--device", "cpu")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert name in done.err
    assert "Get the bundle again." in done.err
    assert command("run", bundle, "-i", image_file, "--device", "cpu").code == 0


def test_labels_of_another_shape_are_refused(command, tmp_path, tiny_bundle):
    add_reference(tiny_bundle, make_data(), np.ones((4, 4, 4), np.uint8))
    done = command("verify", tiny_bundle, "--device", "cpu")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "4 x 4 x 4 voxels" in done.err


def test_a_bundle_without_references_says_how_they_are_made(command, tiny_bundle):
    done = command("verify", tiny_bundle)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"deepseg-export reference {tiny_bundle} --image" in done.err


def test_a_phantom_that_is_drawn_otherwise_is_told(command, tmp_path, tiny_bundle):
    recipe = {"seed": 3, "shape": [64, 64, 1], "spacing": [1.0, 1.0, 3.0], "noise": 0.0}
    add_reference(tiny_bundle, np.ones((64, 64, 1)), np.ones((64, 64, 1), np.uint8))

    def draw(manifest):
        (entry,) = manifest["references"]
        del entry["images"]
        entry.update(phantom={**recipe, "sha256": "0" * 64}, bounds={"fp32": 4096})

    change_manifest(tiny_bundle, draw)
    done = command("verify", tiny_bundle, "--device", "cpu", "--json")
    assert done.code == 0
    assert "is drawn with other voxels here" in done.err
    (row,) = json.loads(done.out)["references"]
    assert "is drawn with other voxels here" in row["warnings"][0]


def test_lists_tell_of_it_until_something_changes(command, bundle, monkeypatch):
    def told():
        (line,) = [x for x in command("info", bundle).out.splitlines() if "verified here" in x]
        return line.split(":", 1)[1].strip()

    assert told() == "no"
    command("verify", bundle, "--device", "cpu")
    assert told().endswith("Z on cpu in fp32")
    assert json.loads(command("info", bundle, "--json").out)["verified here"] == [told()]
    with monkeypatch.context() as other:
        other.setattr(receipts, "processor_name", lambda: "another processor")
        assert told() == "no"
    with monkeypatch.context() as other:
        other.setattr(receipts, "version_of", lambda package: "99")
        assert told() == "no"
    change_manifest(bundle, lambda manifest: manifest.update(version="2"))
    assert told() == "no"


def test_a_damaged_receipt_in_the_cache_is_passed_over(command, bundle):
    command("verify", bundle, "--device", "cpu")
    (kept,) = (receipts.home() / "receipts").iterdir()
    assert len(receipts.verified(bundle)) == 1
    kept.write_text(kept.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert receipts.verified(bundle) == []


def test_one_receipt_is_kept_for_each_setting(command, bundle):
    for _ in range(2):
        command("verify", bundle, "--device", "cpu")
    assert len(list((receipts.home() / "receipts").iterdir())) == 1


def test_a_receipt_says_which_form_of_the_networks_ran(command, tmp_path):
    from deepseg_lite.bundles.bundle import read_bundle
    from deepseg_lite.store.cache import models_directory

    shipped = read_bundle(models_directory() / "sc_gm_t2star" / "bundle")
    (own,) = {form.form for form in shipped.networks[0].forms if "cpu" in form.devices}
    for number, (asked, form) in enumerate((("canonical", "canonical"), ("auto", own)), 1):
        written = tmp_path / f"{asked}.json"
        words = ("verify", "sc_gm_t2star", "--device", "cpu", "--form", asked, "-o", written)
        done = command(*words)
        assert done.code == 0
        assert json.loads(written.read_text(encoding="utf-8"))["engine"]["form"] == form
        assert (f"with the form {own}" in done.out) == (asked == "auto")
        assert len(list((receipts.home() / "receipts").iterdir())) == number
    compared = command(*words, "--overwrite", "--compare", tmp_path / "canonical.json")
    (line,) = [x for x in compared.out.splitlines() if x.startswith("form ")]
    assert line.split() == ["form", "canonical", *own.split()]


def test_a_cache_that_cannot_be_written_is_told_and_the_result_is_there(
    command, bundle, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEEPSEG_LITE_HOME", str(tmp_path / "file" / "home"))
    done = command("verify", bundle, "--device", "cpu")
    assert done.code == 0
    assert "gives the original's result" in done.out
    assert done.err.startswith("error: ")


def test_a_receipt_is_not_replaced_unless_asked(command, bundle, tmp_path):
    written = tmp_path / "receipt.json"
    written.write_text("mine")
    assert command("verify", bundle, "--device", "cpu", "-o", written).code == 1
    assert written.read_text() == "mine"
    assert command("verify", bundle, "--device", "cpu", "-o", written, "--overwrite").code == 0
    assert written.read_text() != "mine"


def test_two_machines_are_compared_in_a_table(command, bundle, tmp_path):
    there = tmp_path / "there.json"
    command("verify", bundle, "--device", "cpu", "-o", there)
    receipt = json.loads(there.read_text(encoding="utf-8"))
    receipt["machine"]["cpu"] = "Another Processor"
    there.write_text(json.dumps(receipt), encoding="utf-8")
    done = command("verify", bundle, "--device", "cpu", "--compare", there)
    (line,) = [x for x in done.out.splitlines() if x.startswith("processor")]
    assert "Another Processor" in line
    assert not line.endswith("same")
    assert "Of 1 references, both machines have the same voxels." in done.out
    receipt["references"][0]["result_sha256"] = "0" * 64
    there.write_text(json.dumps(receipt), encoding="utf-8")
    done = command("verify", bundle, "--device", "cpu", "--compare", there)
    assert "both machines have other voxels in some" in done.out


def test_receipts_of_other_bundles_and_other_files_are_refused(command, bundle, tmp_path):
    there = tmp_path / "there.json"
    command("verify", bundle, "--device", "cpu", "-o", there)
    change_manifest(bundle, lambda manifest: manifest.update(version="2"))
    done = command("verify", bundle, "--device", "cpu", "--compare", there)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "receipts of one bundle are needed" in done.err
    for text in ("{}", "[", '{"schema": 1}'):
        there.write_text(text)
        done = command("verify", bundle, "--device", "cpu", "--compare", there)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert "is no receipt" in done.err
    assert command("verify", bundle, "--compare", there, "--json").code == 2
