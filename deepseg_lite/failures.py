"""Failures of libraries told apart, by what they say: each needs other advice."""

from __future__ import annotations

import re

TOO_LITTLE_MEMORY = "There is too little memory: give `max_ram`, fewer `threads`, or free some."
_NO_MEMORY = re.compile(
    r"bad.?alloc|out of memory|failed to allocate|can(no|')t alloc|alloc_failed|"
    r"memory allocation still failed|available memory of \d+ is smaller|failed to map segment|"
    r"could not create a memory|resource temporarily unavailable",
    re.IGNORECASE,
)
_NO_LIBRARY = re.compile(
    r"cannot open shared object|dll load failed|library not loaded|error loading \"", re.IGNORECASE
)
_SHARED = re.compile(r"([^\s:/]+\.(?:so|dll|dylib)[^\s:]*): ")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one that it came from, means too little memory."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, MemoryError) or says_no_memory(str(found)):
            return True
        found = found.__cause__ or found.__context__
    return False


def says_no_memory(text: str) -> bool:
    """Return whether what a library or a process said means too little memory."""
    return _NO_MEMORY.search(text) is not None


def why_not_loaded(error: BaseException) -> str | None:
    """Return why a library that is installed cannot be loaded, and what helps; None if it is not.

    >>> why_not_loaded(ImportError("libgomp.so.1: cannot open shared object file: No such file"))
    'a library of the system is missing (libgomp.so.1); install it with the packages of the system'
    """
    if is_out_of_memory(error):
        return (
            "there is too little memory for it; free some, or raise the limit of this session "
            "(ulimit -v)"
        )
    if _NO_LIBRARY.search(str(error)):
        name = _SHARED.search(str(error))
        which = f" ({name[1]})" if name else ""
        return (
            f"a library of the system is missing{which}; install it with the packages of the system"
        )
    return None
