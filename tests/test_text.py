"""Text for people: printable, one line, not too long, whatever the names in it are."""

from __future__ import annotations

import pytest

from deepseg_lite.errors import BundleNotFoundError, ImageError, OutputError
from deepseg_lite.text import MESSAGE_LENGTH, NAME_LENGTH, one_line, printable, shortened, shown

ADVICE = "does not exist; give an existing NIfTI image."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rückenmark 頸髄.nii", "Rückenmark 頸髄.nii"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[2J\x07\x9b", r"\x1b[2J\x07\x9b"),
        ("\udcff\udc80", r"\xff\x80"),
        ("\u202e\u2028", r"\u202e\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_no_terminal_shows_is_escaped(text, expected):
    assert printable(text) == expected
    assert printable(expected) == expected


def test_long_texts_keep_both_ends():
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 10) == "abcd...ijk"
    name = "x" * 200 + "_end.nii.gz"
    assert len(shown(name)) == NAME_LENGTH
    assert shown(name).endswith("_end.nii.gz")


@pytest.mark.parametrize(
    "name", ["x" * 255, "x " * 127, "\n" * 255, "\udcff" * 255, "/".join("ab" * 2000)]
)
def test_messages_are_short_and_keep_their_advice(name):
    """Fault 25: below 300 characters whatever a file's name."""
    message = one_line(f"{name} {ADVICE}")
    assert len(message) < MESSAGE_LENGTH
    assert message.isprintable()
    assert message.endswith(ADVICE)


def test_messages_that_are_short_stay():
    message = f"{'x' * 200}.nii {ADVICE}"
    assert one_line(message) == message


@pytest.mark.parametrize("kind", [ImageError, OutputError, BundleNotFoundError])
def test_errors_are_printable_in_python_too(kind):
    assert str(kind("a\n\x1b[2J.nii is missing")) == r"a\n\x1b[2J.nii is missing"
