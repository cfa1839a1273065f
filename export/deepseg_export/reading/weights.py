"""Weights into a network, checked."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from deepseg_export.errors import CheckpointError, UnsupportedError

MAX_LAYERS = 10_000
_SLACK_BYTES = 16 * 1024**2


@contextmanager
def no_larger_than(weights: Mapping[str, Any]) -> Iterator[None]:
    """Stop a network from being built that has many more weights than its file, or layers.

    Raises
    ------
    UnsupportedError
        As soon as one layer or weight too many is added.
    """
    from torch.nn.modules import module as hooks
    from torch.nn.parameter import is_lazy

    most = 8 * sum(value.size for value in weights.values() if isinstance(value, np.ndarray))
    most += _SLACK_BYTES
    layers = size = 0

    def count_layer(*_: Any) -> None:
        nonlocal layers
        layers += 1
        if layers > MAX_LAYERS:
            raise UnsupportedError(f"it has more than {MAX_LAYERS} layers")

    def count_weights(_layer: Any, _name: str, weight: Any) -> None:
        nonlocal size
        if is_lazy(weight):
            raise UnsupportedError("it has lazy layers, which have no weights before they run")
        size += 0 if weight is None else weight.numel() * weight.element_size()
        if size > most:
            raise UnsupportedError(f"it has more than {most} bytes of weights, the file fewer")

    handles = [
        hooks.register_module_module_registration_hook(count_layer),
        hooks.register_module_parameter_registration_hook(count_weights),
        hooks.register_module_buffer_registration_hook(count_weights),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def load_into(network: Any, weights: Mapping[str, Any], where: str, what: str | None = None) -> Any:
    """Put weights into a network and return it, ready for inference.

    Parameters
    ----------
    network : torch.nn.Module
        Of the architecture that the weights are said to be for.
    weights : mapping of str to array
        Its whole state.
    where, what : str
        What the file, and the network, are called in errors; by default the network's class.

    Raises
    ------
    CheckpointError
        If they are not the network's, or not finite.
    """
    its_class = f"its {type(network).__name__}"
    strange = [key for key, value in weights.items() if not _is_real(value)]
    if strange:
        raise CheckpointError(f"{where}: weights are no real numbers: {_shortened(strange)}.")
    try:
        network.load_state_dict({key: to_tensor(value) for key, value in weights.items()})
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise CheckpointError(
            f"{where}: the weights are not those of {what or its_class}: {_shortened(lines)}."
        ) from error
    check_finite(weights, where)
    return network.float().eval()


def to_tensor(array: np.ndarray) -> Any:
    """Return a tensor on the numbers of an array, which are only to be read."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arrays that cannot be written to
        return torch.from_numpy(array)


def check_finite(weights: Mapping[str, np.ndarray], where: str) -> None:
    """Refuse weights that are not finite.

    Raises
    ------
    CheckpointError
        Naming them.
    """
    broken = [key for key, value in weights.items() if not np.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{where}: weights are not finite: {_shortened(broken)}.")


def _is_real(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def _shortened(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - 2} more" if len(lines) > 2 else ""
    return f"{'; '.join(line[:80] for line in lines[:2])}{more}"
