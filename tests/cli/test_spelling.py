"""Slips of the keyboard: named as what they are, and never taken for something else."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-overwrite", "there is no option -overwrite; did you mean --overwrite?"),
        ("-output x", "there is no option -output; did you mean --output?"),
        ("-case", "there is no option -case; did you mean --case?"),
        ("-device cpu", "there is no option -device; did you mean --device?"),
        ("-fill-hole 1", "there is no option -fill-hole; did you mean -fill-holes?"),
        ("-o=y.nii.gz", "-o=y.nii.gz is not understood; write -o y.nii.gz, with a blank"),
        ("-i=y.nii.gz", "-i=y.nii.gz is not understood; write -i y.nii.gz, with a blank"),
        ("-oy.nii.gz", "there is no option -oy.nii.gz; if y.nii.gz is a value, write -o y.nii.gz"),
        ("-xyz", "there is no option -xyz; the options are shown with --help"),
        ("-o --overwrite", "-o needs a value behind it, and --overwrite follows"),
        ("--device --overwrite", "--device needs a value behind it, and --overwrite follows"),
        ("-i --case", "-i needs a value behind it, and --case follows"),
        ("-o", "-o needs a value"),
    ],
)
def test_slips_are_refused_as_a_whole(command, tiny_bundle, image_file, words, message):
    """Fault 29: ``-overwrite`` was read as ``-o verwrite``, and made that folder."""
    before = sorted(image_file.parent.iterdir())
    outcome = command("run", tiny_bundle, "-i", image_file, *words.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert sorted(image_file.parent.iterdir()) == before


@pytest.mark.parametrize("words", ["-vv", "-vq", "--threads 1 -v", "--step=0.5"])
def test_what_is_right_is_left_alone(command, tiny_bundle, image_file, words):
    assert command("run", tiny_bundle, "-i", image_file, *words.split()).code == 0


def test_numbers_below_zero_are_values(command, tiny_bundle, image_file):
    outcome = command("run", tiny_bundle, "-i", image_file, "-thr", "-.5")
    assert outcome.code == 2
    assert "-0.5 is not in the range" in outcome.err


def test_help_is_no_slip(command):
    for name in ("-h", "--help"):
        assert command("run", name).out.startswith("Usage: deepseg-lite run")
