"""Weights of checkpoints that hold more than weights, read without running any of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.checkpoint import checked_dictionary, read_saved
from deepseg_export.reading.limits import check_tree
from deepseg_export.reading.records import Record, kind_of, record_parts

_PLACES = ("state_dict", "model", "network", "net", "model_state_dict")
_PREFIXES = re.compile(r"^(?:(?:module|_orig_mod)\.)+")


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read the state of a network.

    Parameters
    ----------
    path : Path
        A file of ``torch.save`` with a state, alone or inside a training checkpoint; or a
        TorchScript program, of which the weights are read and nothing is run.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds no state.
    """
    content = read_saved(path)
    if isinstance(content, Record):
        return _read_script(path, content)
    content = checked_dictionary(path, content)
    for place in (None, *_PLACES):
        state: Any = content.get(place) if place else content
        if _is_state(state):
            return {_PREFIXES.sub("", str(key)): value for key, value in state.items()}
    raise CheckpointError(
        f"{path} holds no weights of a network: a state is needed, alone or as one of "
        f"{', '.join(_PLACES)}; there is {', '.join(map(str, list(content)[:8])) or 'nothing'}."
    )


def _read_script(path: Path, program: Record) -> dict[str, np.ndarray]:
    """Return the tensors of a program's modules, named by the way to them."""
    check_tree(program, path, record_parts)
    weights = dict(_tensors(program, ""))
    if not weights:
        raise CheckpointError(f"{path} holds a {kind_of(program)} without weights; get it again.")
    return weights


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    attributes = module.state if isinstance(module, Record) else None
    for name, value in attributes.items() if isinstance(attributes, Mapping) else ():
        if isinstance(value, np.ndarray):
            yield f"{prefix}{name}", value
        yield from _tensors(value, f"{prefix}{name}.")


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(item, np.ndarray) for item in value.values())
    )
