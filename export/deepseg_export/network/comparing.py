"""A form of a network against its canonical form, and both against what is exact."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepseg_export.errors import VerificationError
from deepseg_export.network.verify import PRECISE, SEED, Agreement, open_session, padded, run
from deepseg_lite.engines.rows import Rows
from deepseg_lite.engines.slices import Slices
from deepseg_lite.machine import give_memory_back

logger = logging.getLogger(__name__)

FACTOR = 2.0
"""Times the canonical form's distance from what is exact that a form may have.

Networks whose sums are in another order alone were found to have up to 1.33 times that distance.
"""
MOST_EXACT = 2**19
"""Voxels of a patch up to which it is computed in float64 where that is needed."""

Exact = Callable[[np.ndarray], np.ndarray]
"""A network in float64, from a batch to its result."""


class Distance(NamedTuple):
    """How far both forms are from what is exact, as shares of its largest value.

    Attributes
    ----------
    patch : str
        What is given: ``noise``, or ``padded``, which is noise in zeros.
    form, canonical : float
        Largest differences.
    """

    patch: str
    form: float
    canonical: float

    @property
    def is_small(self) -> bool:
        """Whether the form is as good as float32 is here. Written so that NaN is not."""
        return self.form <= max(PRECISE, FACTOR * self.canonical)


class FormAgreement(NamedTuple):
    """How far a form agrees with its canonical network.

    Attributes
    ----------
    max_abs_error, max_rel_error : float
        Largest difference of the two, absolute and relative to the largest value.
    from_exact : tuple of Distance
        Of each patch; empty where the two agree within `verify.PRECISE`, or nothing is known.
    """

    max_abs_error: float
    max_rel_error: float
    from_exact: tuple[Distance, ...] = ()

    @property
    def problem(self) -> str | None:
        """Why the form is not precise enough; None where it is.

        It is if it is within `verify.PRECISE` of the canonical form. Where float32 itself is worse,
        it is if, on every patch, it is not more than `FACTOR` times as far from what is exact as
        the canonical form.
        """
        if self.max_rel_error <= PRECISE:
            return None
        for each in self.from_exact:
            if not each.is_small:
                return (
                    f"it is {each.form:.2g} of the largest value from what is exact, the canonical "
                    f"form {each.canonical:.2g}"
                )
        if self.from_exact:
            return None
        return f"it differs by {self.max_rel_error:.2g} of the largest value"

    def entry(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        errors = Agreement(self.max_abs_error, self.max_rel_error)._asdict()
        distances = [each._asdict() for each in self.from_exact]
        return {**errors, "from_exact": distances} if distances else errors


def check_form(
    canonical: Path,
    form: Path,
    calling: type[Slices] | type[Rows] = Slices,
    patch: Sequence[int] | None = None,
    exact: Exact | None = None,
) -> FormAgreement:
    """Compare a form with its canonical network on patches of noise, and of noise in zeros.

    The two are opened one after the other: each takes as much memory as a run.

    Parameters
    ----------
    canonical, form : Path
        Their files.
    calling : type
        Makes of the form's session what takes and gives what the canonical network does.
    patch : sequence of ints, optional
        Sizes of the patch, where the network takes any.
    exact : callable, optional
        The network in float64. It is called where the two differ by more than `verify.PRECISE`,
        for patches of at most `MOST_EXACT` voxels.

    Raises
    ------
    VerificationError
        If one of them fails, or gives something of another shape or no finite numbers.
    """
    session = open_session(canonical, lean=True)
    _, channels, *axes = session.get_inputs()[0].shape
    sizes = [
        own if isinstance(own, int) else size for own, size in zip(axes, patch or axes, strict=True)
    ]
    noise = np.random.default_rng(SEED).standard_normal((1, channels, *sizes), dtype=np.float32)
    batches = {"noise": noise, "padded": padded(noise)}
    expected = [run(session, batch) for batch in batches.values()]
    del session
    reuses = calling.reuses_buffers
    called = calling(open_session(form, lean=reuses, chunked=not reuses))
    give_memory_back()
    found = [called(batch) for batch in batches.values()]
    del called
    pairs = list(zip(expected, found, strict=True))
    agreement = FormAgreement(*map(max, *(_difference(*pair) for pair in pairs)))
    if agreement.max_rel_error <= PRECISE or exact is None or math.prod(sizes) > MOST_EXACT:
        return agreement
    try:
        distances = []
        for (name, batch), pair in zip(batches.items(), pairs, strict=True):
            right = exact(batch)
            others, own = (_difference(right, result).max_rel_error for result in pair)
            distances.append(Distance(name, own, others))
    except VerificationError as error:
        logger.debug("What is exact is not known: %s", error)
        return agreement
    return agreement._replace(from_exact=tuple(distances))


def _difference(expected: np.ndarray, found: np.ndarray) -> Agreement:
    if expected.shape != found.shape:
        raise VerificationError(f"it gives an output of shape {found.shape}, not {expected.shape}")
    scale = float(np.abs(expected).max())
    error = float(np.abs(expected - found).max())
    if not math.isfinite(error):
        raise VerificationError("it gives values that are no finite numbers")
    return Agreement(error, error / scale if scale else error)
