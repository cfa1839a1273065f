"""A click command in this process, with its two streams apart whatever click's version."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import click
from click.testing import CliRunner, Result

_APART = {"mix_stderr": False}  # from 8.2 on they always are


def invoke(command: click.Command, words: Sequence[object]) -> Result:
    """Return what a command leaves: exit code, standard output, error output."""
    is_old = "mix_stderr" in inspect.signature(CliRunner).parameters
    return CliRunner(**(_APART if is_old else {})).invoke(command, [str(word) for word in words])
