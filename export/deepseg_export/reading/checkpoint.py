"""Checkpoints: pickles of strangers, loaded without running their code."""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError

logger = logging.getLogger(__name__)

_SCALAR_DTYPES = "?bBhHiIlLqQefd"


def load_checkpoint(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint written by ``torch.save``.

    Parameters
    ----------
    path : Path
        The ``.pth`` file.
    trust : bool
        Unpickle without restriction, which runs whatever code the file names.

    Returns
    -------
    checkpoint : dict
        Tensors on the CPU.

    Raises
    ------
    CheckpointError
        If the file is damaged, is not a dictionary, or needs a global that is not on the list.
    """
    import torch

    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_safe_globals()):
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:  # a damaged pickle may raise anything at all
        forbidden = None if trust else _forbidden_globals(path, str(error))
        if forbidden:
            raise CheckpointError(
                f"{path} would run code of its own when loaded: it names {forbidden}. If you "
                "trust where it comes from, give --trust-checkpoint."
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({reason}); get it again."
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path} holds a {type(checkpoint).__name__}; a checkpoint dictionary is needed."
        )
    return checkpoint


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1024**2):
            digest.update(block)
    return digest.hexdigest()


def _safe_globals() -> list[Any]:
    """Return what real checkpoints need beyond tensors: NumPy's plain number scalars.

    Training logs and best scores are NumPy scalars. Files written by NumPy 1 and 2 name the same
    function differently, and both must load whichever NumPy reads them.
    """
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(code)) for code in _SCALAR_DTYPES}
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *sorted(dtypes, key=lambda dtype: dtype.__name__),
    ]


def _forbidden_globals(path: Path, message: str) -> str | None:
    """Return the globals a checkpoint names that are not allowed, or None when that is not it."""
    import torch

    try:
        with torch.serialization.safe_globals(_safe_globals()):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the static reader knows fewer opcodes than the loader
        found = []
    named = re.search(r"(?:GLOBAL|global|function|class) ([\w.]+\.[\w.]+)", message)
    if not found and named and "nsupported" in message:
        found = [named.group(1)]
    return ", ".join(sorted(found)) or None
