"""Networks of a bundle that segments: one for each fold, with its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deepseg_lite.bundles.files import NetworkFile


@dataclass(frozen=True, kw_only=True)
class Network(NetworkFile):
    """The network of one fold.

    ``flop`` are the floating-point operations of one patch; None where its size is not fixed.
    """

    fold: str
    flop: int | None = None


def parse_network(network: Mapping[str, Any]) -> Network:
    """Return a network from its entry in a valid manifest."""
    variants = tuple(NetworkFile(**variant) for variant in network.get("variants", ()))
    alone = Network(**{**network, "variants": variants, "forms": ()})
    forms = tuple(
        NetworkFile(
            path=form["path"],
            sha256=form["sha256"],
            size=form["size"],
            form=form["form"],
            devices=tuple(form["devices"]),
            weights=alone,
        )
        for form in network.get("forms", ())
    )
    return replace(alone, forms=forms)
