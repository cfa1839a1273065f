"""Fitting settings to a model: what does not fit is refused, what is fast is chosen."""

from __future__ import annotations

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.channels import channel_order
from deepseg_lite.inference.settings import Settings, changed, why_unfit

FAST_STEP = 0.75
"""Distance of patches as a fraction of the patch."""


def check_settings(settings: Settings, bundle: Bundle) -> None:
    """Refuse settings that do not fit a model, before any work starts.

    Raises
    ------
    OptionError
        Saying which and why.
    """
    if problem := why_unfit(settings, bundle):
        raise OptionError(problem)
    channel_order(bundle.inputs, settings["contrasts"])


def fit_settings(settings: Settings, bundle: Bundle) -> Settings:
    """Return settings with all that ``fast`` means for a model and its kind allows.

    That is a larger step, unless one was chosen or the model's own is as large, and leaving out
    empty patches. One fold alone is chosen where the model is loaded. The cost of each is in
    docs/users/speed-and-precision.md.

    Raises
    ------
    OptionError
        If nothing can be left out.
    """
    if not settings["fast"]:
        return settings
    window = bundle.sliding_window
    own_step = max((1 - share for share in window.overlap), default=1.0)
    step = settings["step"] or (FAST_STEP if own_step < FAST_STEP else None)
    fast = changed(settings, step=step, skip_empty=bundle.outputs.values is None)
    if fast == settings and len(bundle.networks) == 1:
        raise OptionError(
            f"{bundle.name} has one fold, patches that are far apart and maps as its result, so "
            "nothing can be left out of a run; leave `fast` out."
        )
    return fast
