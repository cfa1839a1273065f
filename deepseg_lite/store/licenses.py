"""Licences of weights: what their text is known to allow."""

from __future__ import annotations

import re

# Licences that let others pass weights on; what follows is a version or a variant.
_REDISTRIBUTABLE = re.compile(
    r"(mit|bsd|apache|isc|mpl|[al]?gpl|eupl|cc0|cc[ -]by|creative commons|unlicense|pddl|odbl"
    r"|odc-by|(.*[ -])?openrail)(v?[^a-z].*)?",
    re.IGNORECASE | re.DOTALL,
)
_RESTRICTED = re.compile(r"\bn[cd]\b|non.?commercial|no.?deriv|openrail|research", re.IGNORECASE)


def may_be_passed_on(license: str | None) -> bool:
    """Return whether a licence is known to let others pass the weights on.

    >>> may_be_passed_on("MIT"), may_be_passed_on("CC-BY-NC-4.0"), may_be_passed_on(None)
    (True, True, False)
    """
    return _REDISTRIBUTABLE.fullmatch((license or "").strip()) is not None


def needs_consent(license: str | None) -> bool:
    """Return whether who takes the weights has to agree first: all uses are not known to be free.

    >>> needs_consent("MIT"), needs_consent("CC-BY-NC-4.0"), needs_consent(None)
    (False, True, True)
    """
    return not may_be_passed_on(license) or _RESTRICTED.search(license or "") is not None


def in_words(license: str | None) -> str:
    """Return the licence of weights, or that none is stated."""
    return license or "none stated"
