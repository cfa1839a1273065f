"""Weights of checkpoints that hold more than weights, read without running any of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.checkpoint import checked_dictionary, load_trusted, read_saved
from deepseg_export.reading.unpickling import Inert

_PLACES = ("state_dict", "model", "network", "net", "model_state_dict")
_PREFIXES = re.compile(r"^(?:(?:module|_orig_mod)\.)+")


def read_weights(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read the state of a network.

    Parameters
    ----------
    path : Path
        A file of ``torch.save`` with a state, alone or inside a training checkpoint; or a
        TorchScript file (``.ts``), which runs code when it is loaded.
    trust : bool
        Load what would run code.

    Returns
    -------
    weights : dict
        Names to tensors on the CPU.

    Raises
    ------
    CheckpointError
        If the file is damaged, holds no state, or is TorchScript that nobody vouches for.
    """
    content = _read_script(path, trust) if path.suffix == ".ts" else _read_pickle(path, trust)
    for place in (None, *_PLACES):
        state: Any = content.get(place) if place else content
        if _is_state(state):
            return {_PREFIXES.sub("", str(key)): value for key, value in state.items()}
    raise CheckpointError(
        f"{path} holds no weights of a network: a state is needed, alone or as one of "
        f"{', '.join(_PLACES)}; there is {', '.join(map(str, list(content)[:8])) or 'nothing'}."
    )


def _read_pickle(path: Path, trust: bool) -> Mapping[Any, Any]:
    content = _trusted(path) if trust else read_saved(path, lambda module, name: Inert)
    return checked_dictionary(path, content)


def _read_script(path: Path, trust: bool) -> Mapping[Any, Any]:
    if not trust:
        raise CheckpointError(
            f"{path} is TorchScript, which may run code of its own when it is loaded; model.pt "
            "beside it is better. If you trust where it comes from, give --trust-checkpoint."
        )
    state: Mapping[Any, Any] = _trusted(path, is_script=True).state_dict()
    return state


def _trusted(path: Path, *, is_script: bool = False) -> Any:
    try:
        return load_trusted(path, is_script=is_script)
    except ImportError as error:
        raise CheckpointError(
            f"{path} needs {error.name}, which is not installed; install it beside this software, "
            "or leave --trust-checkpoint out."
        ) from error


def _is_state(value: Any) -> bool:
    import torch

    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(item, torch.Tensor) for item in value.values())
    )
