"""Words of a command line before click reads them, so that slips are named as what they are.

By itself click reads ``-overwrite`` as ``-o verwrite``, and takes whatever follows an option for
its value.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterable, Sequence

import click

_NUMBER = re.compile(r"-\.?\d.*")


class SpellingError(Exception):
    """A word that cannot be meant; the message says what can. The caller makes it a usage error."""


def is_option(word: str) -> bool:
    """Return whether a word is an option, rather than a name or a number."""
    return len(word) > 1 and word.startswith("-") and not _NUMBER.match(word)


def take_value(option: str, left: list[str], needed: str = "a value") -> str:
    """Take the value of an option off the words that follow it.

    Raises
    ------
    SpellingError
        If there is none, or another option is in its place.
    """
    if not left:
        raise SpellingError(f"{option} needs {needed}.")
    if is_option(left[0]):
        is_file = f"; write ./{left[0]} for that file" if os.path.lexists(left[0]) else ""
        raise SpellingError(f"{option} needs {needed} behind it, and {left[0]} follows{is_file}.")
    return left.pop(0)


def with_value(options: Iterable[click.Parameter]) -> set[str]:
    """Return the spellings of options that are followed by a value."""
    return {
        name
        for option in options
        if isinstance(option, click.Option) and not option.is_flag and not option.count
        for name in option.opts
    }


def check_words(
    words: Sequence[str], options: Collection[click.Parameter], others: Collection[str] = ()
) -> None:
    """Refuse options without their values, and words of one dash that are no option.

    Parameters
    ----------
    words : sequence of str
        What follows the name of a command.
    options : collection of click.Parameter
        What the command takes.
    others : collection of str
        More spellings that would have been understood, to name the closest one.

    Raises
    ------
    SpellingError
        For the first such word.
    """
    known = {
        name
        for option in options
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    valued = with_value(options)
    letters = {name[1] for name in known - valued if len(name) == 2}
    left = list(words)
    while left and (word := left.pop(0)) != "--":
        if word in valued:
            take_value(word, left)
        elif is_option(word) and not (word in known or word.startswith("--")):
            if letters.issuperset(word[1:]):  # several options of one letter
                continue
            raise SpellingError(_unknown(word, known | set(others), valued))


def _unknown(word: str, known: Collection[str], valued: Collection[str]) -> str:
    """Return what to say of a word of one dash that is no option."""
    name, equals, value = word.partition("=")
    if equals and name in known:
        return f"{word} is not understood; write {name} {value}, with a blank."
    bare = {name.lstrip("-"): name for name in sorted(known)}
    if close := difflib.get_close_matches(name.lstrip("-"), bare, n=1, cutoff=0.7):
        return f"there is no option {word}; did you mean {bare[close[0]]}?"
    if word[:2] in valued:
        return f"there is no option {word}; if {word[2:]} is a value, write {word[:2]} {word[2:]}."
    return f"there is no option {word}; the options are shown with --help."
