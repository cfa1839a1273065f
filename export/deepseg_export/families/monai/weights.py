"""Weights of checkpoints that hold more than weights, read without running any of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError

_PLACES = ("state_dict", "model", "network", "net", "model_state_dict")
_PREFIXES = re.compile(r"^(?:(?:module|_orig_mod)\.)+")


class Inert:
    """Stand-in for any class that a checkpoint names: it takes everything and does nothing."""

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Inert:
        """Make one, whatever is given."""
        return super().__new__(cls)

    def __init__(self, *_arguments: Any, **_keywords: Any) -> None: ...

    def __setstate__(self, _state: Any) -> None: ...

    def __setitem__(self, _key: Any, _value: Any) -> None: ...

    def append(self, _value: Any) -> None:
        """Drop a value."""

    def extend(self, _values: Any) -> None:
        """Drop values."""


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
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if trust:
                content = torch.load(path, map_location="cpu", weights_only=False)
            else:
                named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
                with torch.serialization.safe_globals([(Inert, name) for name in named]):
                    content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything at all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({reason}); get it again."
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}; a checkpoint dictionary is needed."
        )
    return content


def _read_script(path: Path, trust: bool) -> Mapping[Any, Any]:
    import torch

    if not trust:
        raise CheckpointError(
            f"{path} is TorchScript, which may run code of its own when it is loaded; model.pt "
            "beside it is better. If you trust where it comes from, give --trust-checkpoint."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state: Mapping[Any, Any] = torch.jit.load(str(path), map_location="cpu").state_dict()
    except Exception as error:  # as above
        raise CheckpointError(f"{path} is not readable TorchScript; get it again.") from error
    return state


def _is_state(value: Any) -> bool:
    import torch

    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(item, torch.Tensor) for item in value.values())
    )
