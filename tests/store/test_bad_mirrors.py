"""Mirrors that are broken or hostile: refused in one line, the cache as it was (fault 18)."""

from __future__ import annotations

import random

import pytest
from campaigns.mirrors import cases, problems

from deepseg_lite.store import download, transfer

SAMPLE = 80
CASES = list(cases(random.Random(18)))


def test_there_are_many_different_answers():
    assert len(CASES) >= 250
    assert len({case.name for case in CASES}) > 0.9 * len(CASES)


@pytest.mark.parametrize(
    "case", random.Random(19).sample(CASES, SAMPLE), ids=[str(number) for number in range(SAMPLE)]
)
def test_a_bad_answer_is_one_line_and_changes_nothing(case, command, monkeypatch):
    """tests/campaigns/mirrors.py runs them all."""
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setattr(transfer, "WINDOW_S", 0.2)
    assert (case.name, problems(case, lambda words: command(*words))) == (case.name, [])
