"""Collecting everything that stands in the way, instead of stopping at the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deepseg_export.errors import UnsupportedError

Problems = list[str]


@contextmanager
def collected(problems: Problems, what: str) -> Iterator[None]:
    """Turn what goes wrong while reading one part of the files into an entry of ``problems``."""
    try:
        yield
    except UnsupportedError as error:
        problems.append(f"{what}: {error}")
    except KeyError as error:
        problems.append(f"{what}: {error} is missing")
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        problems.append(f"{what}: {error}")
