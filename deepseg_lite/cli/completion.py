"""Command that has a shell complete words with the Tab key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from deepseg_lite.atomic import make_folder, write_files
from deepseg_lite.cli.console import say
from deepseg_lite.errors import OutputError, reason
from deepseg_lite.text import printable

SHELLS = ("bash", "zsh", "fish")
_PROGRAM, _VARIABLE = "deepseg-lite", "_DEEPSEG_LITE_COMPLETE"
_LOADED = {"zsh": "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"}
"""What a shell needs before the script; zsh loads its completions only where it is told to."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.option(
    "--install", is_flag=True, help="Set it up for this user, and print what was written."
)
def completion(shell: str | None, install: bool) -> None:
    """Complete commands, options, tasks and files with the Tab key.

    Prints the script for a shell, by default the one that SHELL names; --install puts it where the
    shell finds it. New shells have it.
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise click.UsageError(
            f"the shell is not known; name it: deepseg-lite completion {'|'.join(SHELLS)}.",
            click.get_current_context(),
        )
    script = script_of(shell)
    if not install:
        click.echo(script, nl=False)
        return
    for path in install_script(shell, script):
        say(printable(path))


def script_of(shell: str) -> str:
    """Return the script that completes words of ``deepseg-lite`` in a shell."""
    found = get_completion_class(shell)
    assert found is not None
    # Its own source() asks the bash of this machine for its version first, which may not be there.
    completer = found(click.Command(_PROGRAM), {}, _PROGRAM, _VARIABLE)
    script = completer.source_template % completer.source_vars()
    return f"{_LOADED.get(shell, '')}{script.rstrip()}\n"


def install_script(shell: str, script: str) -> Iterator[Path]:
    """Write a script where its shell finds it; yield each file that was changed.

    fish looks in a folder of its own. The others read it by a line in their start file, which is
    added once; a start file that is a link stays one.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    target, start = _places(shell)
    make_folder(target.parent)
    write_files({target: script.encode()}, overwrite=True)
    yield target
    if start is None:
        return
    line = f'[ -r "{target}" ] && . "{target}"'
    try:
        there = start.read_text(encoding="utf-8", errors="replace") if start.exists() else ""
        if line in there.splitlines():
            return
        with start.open("a", encoding="utf-8") as file:
            file.write(f"{'' if there.endswith(chr(10)) or not there else chr(10)}{line}\n")
    except OSError as error:
        raise OutputError(
            f"{start} cannot be changed ({reason(error)}); have your shell read {target} when it "
            "starts."
        ) from error
    yield start


def _places(shell: str) -> tuple[Path, Path | None]:
    """Return where the script of a shell goes, and the start file that must name it."""
    home = Path(os.path.expanduser("~"))
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "deepseg_lite"
    if shell == "fish":
        settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return settings / "fish" / "completions" / f"{_PROGRAM}.fish", None
    starts = {"bash": home / ".bashrc", "zsh": Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"}
    return data / f"completion.{shell}", starts[shell]
