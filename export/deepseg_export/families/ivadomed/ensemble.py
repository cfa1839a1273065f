"""Several trained models of one kind as one, with a network of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.checkpoint import Checkpoint

_OWN = ("name", "source")


def joined(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """Return models that do the same around their networks as one model.

    Parameters
    ----------
    checkpoints : sequence of Checkpoint
        Of one network each. Folds are numbered in their order; one alone stays as it is.

    Returns
    -------
    checkpoint : Checkpoint
        Named as the first. Finished maps of all are averaged, so files of masks become soft.

    Raises
    ------
    UnsupportedError
        If they differ in anything but their weights; all that differs is listed.

    Notes
    -----
    Source: the Spinal Cord Toolbox 6.0 to 6.3, ensembles of ivadomed models; checked by
    ``tests/parity/test_ivadomed.py``.
    """
    first, *others = checkpoints
    if not others:
        return first
    for other in others:
        if different := _differences(first, other):
            names = [_model(checkpoint) for checkpoint in (first, other)]
            raise UnsupportedError(
                f"{' and '.join(names)} are no models of one ensemble: they differ in "
                f"{', '.join(different)}. Export each on its own."
            )
    outputs = first.manifest["outputs"]
    files = [{**file, "kind": "soft"} for file in outputs["files"]]
    manifest = {
        **first.manifest,
        "ensemble": "mean_output",
        "outputs": {**outputs, "files": files},
        "source": _source(checkpoints),
    }
    networks = {
        str(fold): network
        for fold, checkpoint in enumerate(checkpoints)
        for network in checkpoint.networks.values()
    }
    return replace(first, manifest=manifest, networks=networks)


def _differences(first: Checkpoint, other: Checkpoint) -> list[str]:
    keys = [key for key in {**first.manifest, **other.manifest} if key not in _OWN]
    return [key for key in keys if first.manifest.get(key) != other.manifest.get(key)]


def _model(checkpoint: Checkpoint) -> str:
    return str(checkpoint.manifest["source"]["details"]["model"])


def _source(checkpoints: Sequence[Checkpoint]) -> Mapping[str, Any]:
    """Return where all come from; archives may hold files of the same names."""
    files = {
        f"{fold}/{name}": digest
        for fold, checkpoint in enumerate(checkpoints)
        for name, digest in checkpoint.manifest["source"]["files"].items()
    }
    source = checkpoints[0].manifest["source"]
    model = ", ".join(dict.fromkeys(map(_model, checkpoints)))
    return {**source, "details": {**source["details"], "model": model}, "files": files}
