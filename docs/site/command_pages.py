"""The reference of commands, from what click knows of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

OPTION = re.compile(r"(?<![\w`/-])(--?[a-z][\w-]*)")
REMARK = re.compile(r"  \[([^\[\]]*)\]$")


def reference(program: str, group: click.Group) -> str:
    """Return a section for each command of a program, with its usage and its options."""
    top = click.Context(group, info_name=program)
    return "\n".join(
        line
        for name in group.list_commands(top)
        if (command := group.get_command(top, name)) and not command.hidden
        for line in _command(command, click.Context(command, parent=top, info_name=name))
    )


def _command(command: click.Command, ctx: click.Context) -> Iterator[str]:
    """Yield the lines of a command, and those of its own commands, if it has some."""
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield f"## `{ctx.command_path}`\n"
    yield f"{in_markdown(inspect.cleandoc(command.help or ''))}\n"
    yield f"```text\n{ctx.command_path} {usage}\n```\n"
    for option in command.params:
        if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
            flags, text = record
            text = REMARK.sub(r" *(\1)*", in_markdown(text))
            yield f"`{flags}`\n:   {text}\n"
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _command(each, click.Context(each, parent=ctx, info_name=name))


def in_markdown(text: str) -> str:
    r"""Return a text of the terminal as Markdown, with options as code.

    >>> in_markdown("T2*w below 0<x; --step 1 is slow, -v says more")
    'T2\\*w below 0&lt;x; `--step` 1 is slow, `-v` says more'
    """
    text = text.replace("\b\n", "").replace("*", r"\*").replace("<", "&lt;")
    return OPTION.sub(r"`\1`", text)
