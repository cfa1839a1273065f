"""The form in slices of one network, made and checked; or why it has none."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from deepseg_export.errors import NoFormError, VerificationError
from deepseg_export.network.comparing import Exact, FormAgreement, check_form
from deepseg_export.network.exact_norm import NORM
from deepseg_export.network.slices.checking import check_on_small_patch, exactly, precise_ways
from deepseg_export.network.slices.form import Canonical, in_slices, read_canonical, written
from deepseg_export.network.slices.rewriting import Rewriting
from deepseg_export.network.slices.rule import TAPS
from deepseg_export.network.slices.transforms import TRANSFORMS
from deepseg_lite.engines.rows import Rows
from deepseg_lite.engines.slices import Slices
from deepseg_lite.errors import reason

logger = logging.getLogger(__name__)

FORM = "slices"
DEVICES = ("cpu",)
OPSET = 18
"""The oldest in which the form can be written."""
LEAST_SAVED = 0.1
"""Share of a network's multiplications that a form must save to be worth a file."""
MOST_GROWTH = 0.05
"""Share of the network's file by which a download may grow."""


class Rewritten(NamedTuple):
    """A form that was made.

    Attributes
    ----------
    file : bytes
        Its file.
    described : str
        What it does, in words.
    exact : callable
        The network in float64.
    smaller : callable, optional
        Compares it on a smaller patch; gives None where that will not do.
    """

    file: bytes
    described: str
    exact: Exact
    smaller: Callable[[], FormAgreement | None] | None = None


def make_form(path: Path, output: Path, patch: Sequence[int] | None = None) -> FormAgreement:
    """Write the form in slices of a network.

    Parameters
    ----------
    path : Path
        File of the canonical network.
    output : Path
        File to write beside it.
    patch : sequence of ints, optional
        Sizes of the patches that the network will be given, where it takes any.

    Returns
    -------
    agreement : FormAgreement
        How far the two agree.

    Raises
    ------
    NoFormError
        Why there is none; nothing is written.
    """
    return write_form(
        path, output, lambda: _rewritten(read_canonical(path, patch)), FORM, Slices, patch
    )


def write_form(
    path: Path,
    output: Path,
    rewritten: Callable[[], Iterator[Rewritten]],
    name: str,
    calling: type[Slices] | type[Rows],
    patch: Sequence[int] | None,
) -> FormAgreement:
    """Write the first form of those that ``rewritten`` yields that is precise enough.

    ``calling`` makes of the form's session what takes and gives what the canonical network does,
    which may take patches of any size.

    Raises
    ------
    NoFormError
        Why there is none; nothing is written.
    """
    problem = None
    tries = rewritten()
    while made := _next(tries):
        if len(made.file) > MOST_GROWTH * path.stat().st_size:
            raise NoFormError(
                f"the form takes {len(made.file) / 1e6:.1f} MB beside "
                f"{path.stat().st_size / 1e6:.1f} MB"
            )
        output.write_bytes(made.file)
        try:
            agreement = (made.smaller and made.smaller()) or check_form(
                path, output, calling, patch, made.exact
            )
        except VerificationError as error:
            problem = str(error)
        else:
            problem = agreement.problem
            if problem is None:
                logger.info(
                    "Form in %s: %s; largest difference %.2g of the largest value%s",
                    *(name, made.described, agreement.max_rel_error, _distances(agreement)),
                )
                return agreement
        output.unlink()
    raise NoFormError(f"the form is not precise enough: {problem}")


def _next(tries: Iterator[Rewritten]) -> Rewritten | None:
    try:
        return next(tries, None)
    except NoFormError:
        raise
    except (ValueError, LookupError, TypeError, VerificationError) as error:
        raise NoFormError(f"it cannot be rewritten ({reason(error)})") from error


def _distances(agreement: FormAgreement) -> str:
    return "".join(
        f"; {each.form:.2g} from what is exact, the canonical form {each.canonical:.2g} "
        f"({each.patch})"
        for each in agreement.from_exact
    )


def _rewritten(canonical: Canonical) -> Iterator[Rewritten]:
    """Yield the form in slices of a network, the fastest first."""
    _check_known(canonical)
    first = in_slices(canonical)
    saved = _saved(canonical, first)
    if saved < LEAST_SAVED:
        raise NoFormError(f"{saved:.0%} of its multiplications would be saved")
    precise = precise_ways(canonical, first)
    for place in range(max(len(ways) for _, ways in first.layers.values())):
        chosen = {
            name: ways[max(min(place, len(ways) - 1), ways.index(precise.get(name, ways[0])))]
            for name, (_, ways) in first.layers.items()
        }
        others = sum(chosen[name] != ways[0] for name, (_, ways) in first.layers.items())
        rewriting = in_slices(canonical, chosen) if others else first
        saved = _saved(canonical, rewriting)
        if place and saved < LEAST_SAVED:
            return
        described = f"{saved:.0%} of the multiplications saved"
        if others:
            described += f"; {others} layers computed otherwise, to be precise"
        if rewriting.unknown:
            kept = ", ".join(sorted(set(rewriting.unknown)))
            described += f"; three-dimensional as before: {kept}"
        yield Rewritten(
            written(canonical, rewriting),
            described,
            exactly(canonical),
            partial(check_on_small_patch, canonical, rewriting),
        )


def _check_known(canonical: Canonical) -> None:
    """Refuse a network that cannot be written in slices, or would lose precision."""
    model = canonical.model
    check_opset(model)
    image = model.graph.input[0].name
    if len(canonical.shapes[image]) != 5:
        raise NoFormError("it is not of three dimensions")
    for node in model.graph.node:
        if node.op_type == NORM and len(canonical.shapes.get(node.input[0], ())) != 5:
            raise NoFormError("it normalises groups of channels")
        if node.op_type == "ReduceMean":
            given, made = (canonical.shapes.get(each[0], ()) for each in (node.input, node.output))
            is_of_last = len(made) == 5 and [*given[:4], 1] == list(made) != list(given)
        if node.op_type == "LayerNormalization" or (node.op_type == "ReduceMean" and is_of_last):
            raise NoFormError("it normalises the last axis of its maps")


def check_opset(model: Any) -> None:
    """Refuse a network of an older opset than that of forms."""
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < OPSET:
        raise NoFormError(f"it is of ONNX opset {opset}, {OPSET} is needed")


def _saved(canonical: Canonical, rewriting: Rewriting) -> float:
    """Return the share of the multiplications of all convolutions that minimal filtering saves."""
    whole = saved = 0.0
    for node in canonical.model.graph.node:
        if node.op_type != "Conv":
            continue
        made = canonical.shapes[node.output[0]]
        products = float(math.prod(canonical.shapes[node.input[1]][1:]) * math.prod(made))
        whole += products
        name = node.output[0]
        _, ways = rewriting.layers.get(name, (None, [TAPS]))
        transform = TRANSFORMS.get(rewriting.chosen.get(name, ways[0]).tile)
        if transform:
            tiles = -(-made[2] // transform.tile)
            saved += products * (1 - tiles * len(transform.inner) / (3 * made[2]))
    return saved / whole if whole else 0.0


def describe_form(form: str, path: Path, agreement: FormAgreement, sha256: str) -> dict[str, Any]:
    """Return the entry of a form's file in a manifest."""
    return {
        "form": form,
        "devices": list(DEVICES),
        "path": path.name,
        "sha256": sha256,
        "size": path.stat().st_size,
        "agreement": agreement.entry(),
    }
