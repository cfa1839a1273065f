"""Weights into a network, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepseg_export.errors import CheckpointError


def load_into(network: Any, weights: Mapping[str, Any], where: str, what: str | None = None) -> Any:
    """Put weights into a network and return it, ready for inference.

    Parameters
    ----------
    network : torch.nn.Module
        Of the architecture that the weights are said to be for.
    weights : mapping of str to tensor
        Its whole state.
    where, what : str
        What the file, and the network, are called in errors; by default the network's class.

    Raises
    ------
    CheckpointError
        If they are not the network's, or not finite.
    """
    import torch

    its_class = f"its {type(network).__name__}"

    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise CheckpointError(
            f"{where}: the weights are not those of {what or its_class}: {_shortened(lines)}."
        ) from error
    broken = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckpointError(f"{where}: weights are not finite: {_shortened(broken)}.")
    return network.float().eval()


def _shortened(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - 2} more" if len(lines) > 2 else ""
    return f"{'; '.join(line[:200] for line in lines[:2])}{more}"
