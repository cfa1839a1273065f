"""Suggestions: how a word may go on that a shell asks about. Nothing heavy is imported for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from deepseg_lite.errors import DeepsegError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def files(_: click.Context, __: click.Parameter | None, begun: str) -> list[CompletionItem[Any]]:
    """Have the shell complete the name of a file."""
    return _items([begun], type="file")


def models(
    ctx: click.Context, parameter: click.Parameter | None, begun: str
) -> list[CompletionItem[Any]]:
    """Suggest tasks, their other names, and bundles in the cache; files where none begins so."""
    names = [name for name in _names() if name.startswith(begun)]
    return _items(sorted(set(names))) if names else files(ctx, parameter, begun)


def bundles(_: click.Context, __: click.Parameter | None, begun: str) -> list[CompletionItem[Any]]:
    """Suggest bundles in the cache."""
    from deepseg_lite.store.cache import bundle_names

    return _items([name for name in bundle_names() if name.startswith(begun)])


def _names() -> Iterator[str]:
    from deepseg_lite.store.cache import bundle_names
    from deepseg_lite.store.tasks import task_names

    yield from bundle_names()
    with suppress(DeepsegError):  # a shell shows no errors
        yield from task_names()


def _items(values: Iterable[str], type: str = "plain") -> list[CompletionItem[Any]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(value, type=type) for value in values]
