"""The command of ``deepseg-export`` that adds forms of networks to a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from deepseg_export.cli.options import CONTEXT, PATH, Command, run_options


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("bundle", type=PATH)
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="Bundle to write. [default: BUNDLE itself]"
)
@run_options
def optimize(bundle: Path, output: Path | None, force: bool, verbose: bool) -> None:
    """Add networks in the form that ONNX Runtime computes fastest on the CPU.

    BUNDLE is a bundle folder; the checkpoint that it was made from is not needed. Its networks stay
    as they are, and every other device takes them as before. The form is checked against them.
    """
    from deepseg_export.forms import optimize

    click.echo(optimize(bundle, output or bundle, force=force))
