"""Problems of a model, collected so that all are reported and not the first alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deepseg_export.errors import UnsupportedError

Problems = list[str]


@contextmanager
def collected(problems: Problems, where: str) -> Iterator[None]:
    """Turn what goes wrong while one part of a model is read into an entry of ``problems``."""
    try:
        yield
    except KeyError as error:
        problems.append(f"{where}: {error} is missing")
    except UnsupportedError as error:
        problems.append(f"{where}: {error}")
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        problems.append(f"{where}: {type(error).__name__}, {error}")
