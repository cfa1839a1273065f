"""Reference cases of manifests: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.bundles import make_manifest

from deepseg_lite.bundles.bundle import parse_manifest, read_bundle
from deepseg_lite.bundles.manifest import manifest_problems
from deepseg_lite.errors import BundleError

HASH = "0" * 64


def file(name):
    return {"path": f"reference/{name}.nii.gz", "sha256": HASH, "size": 1}


def entry(**changes):
    made = {
        "name": "case",
        "images": [file("case")],
        "labels": file("case_labels"),
        "software": "nnunetv2 2.8.1",
        "versions": {"nnunetv2": "2.8.1"},
        "date": "2026-11-27",
        "bounds": {"fp32": 3, "int8": 40},
        "source": "the tests",
        "license": None,
    }
    return {key: value for key, value in {**made, **changes}.items() if value is not ...}


PHANTOM = {
    "seed": 1,
    "shape": [64, 64, 2],
    "spacing": [1.0, 1.0, 3.0],
    "noise": 0.04,
    "sha256": HASH,
}


def test_a_reference_is_read_with_its_files():
    manifest = {
        **make_manifest(),
        "references": [
            entry(),
            entry(name="drawn", images=..., phantom=PHANTOM, labels=file("drawn_labels")),
        ],
    }
    bundle = parse_manifest(manifest, Path("memory"))
    first, second = bundle.references
    assert (first.name, first.bounds, first.phantom) == ("case", {"fp32": 3, "int8": 40}, None)
    assert second.phantom.shape == (64, 64, 2)
    names = [each.path for each in bundle.reference_files]
    assert names == [
        "reference/case.nii.gz",
        "reference/case_labels.nii.gz",
        "reference/drawn_labels.nii.gz",
    ]
    assert bundle.contents[: len(bundle.files)] == bundle.files


def test_a_bundle_without_them_is_as_before(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    assert (bundle.references, bundle.reference_files) == ((), ())
    assert bundle.contents == bundle.files


@pytest.mark.parametrize(
    ("references", "words"),
    [
        ([entry(), entry(labels=file("other"), images=[file("another")])], "every name"),
        ([entry(labels=file("CASE"))], "every path"),
        ([entry(phantom=PHANTOM)], "either images or a phantom"),
        ([entry(images=...)], "either images or a phantom"),
        ([entry(images=[file("a"), file("b")])], "2 entries for 1 input channels"),
        ([entry(bounds={"fp64": 1})], "fp64"),
        ([entry(bounds={})], "bounds"),
        ([entry(date="27.11.2026")], "date"),
        ([entry(labels={**file("a"), "path": "a.nii.gz"})], "labels.path"),
        ([], "references"),
    ],
)
def test_what_is_wrong_is_told(references, words):
    (problem,) = manifest_problems({**make_manifest(), "references": references})
    assert words in problem


def test_a_lone_file_has_none():
    with pytest.raises(BundleError, match="no room"):
        parse_manifest({**make_manifest(), "references": [entry()]}, Path("x"), lone_file=True)
