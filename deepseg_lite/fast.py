"""The settings that ``--fast`` stands for; docs/speed-modes.md has what they cost."""

from __future__ import annotations

from dataclasses import replace

from deepseg_lite.bundle import Bundle
from deepseg_lite.errors import OptionError
from deepseg_lite.settings import Settings

FAST_STEP = 0.75
"""Distance of patches as a fraction of the patch."""


def fast_settings(settings: Settings, bundle: Bundle) -> Settings:
    """Return settings with all that makes a model faster and that its kind allows.

    That is a larger step, unless one was chosen or the model's own is as large, and leaving out
    empty patches. The caller takes one fold alone.

    Raises
    ------
    OptionError
        If nothing can be left out.
    """
    window = bundle.sliding_window
    own_step = max((1 - share for share in window.overlap), default=1.0)
    step = settings.step or (FAST_STEP if own_step < FAST_STEP else None)
    fast = replace(settings, step=step, skip_empty=bundle.outputs.values is None)
    if fast == settings and len(bundle.networks) == 1:
        raise OptionError(
            f"{bundle.name} has one fold, patches that are far apart and maps as its result, so "
            "nothing can be left out of a run; leave --fast out."
        )
    return fast
