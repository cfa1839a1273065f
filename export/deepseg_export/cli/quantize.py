"""The command of ``deepseg-export`` that makes variants of a bundle in other precisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from deepseg_export.cli.options import CONTEXT, PATH, Command, run_options


def _gates(
    _context: click.Context, _option: click.Parameter, values: Sequence[str]
) -> dict[str, float]:
    gates = {}
    for value in values:
        name, _, dice = value.rpartition("=")
        try:
            gates[name] = float(dice)
        except ValueError:
            gates[name] = -1.0
        if not name or not 0 <= gates[name] <= 1:
            raise click.BadParameter(f"{value!r} is not NAME=DICE with a Dice from 0 to 1.")
    return gates


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("bundle", type=PATH)
@click.option(
    "--calibrate",
    multiple=True,
    type=PATH,
    metavar="IMAGE...",
    help="Make int8, from the values that the networks see and give on these images.",
)
@click.option(
    "--held-out", multiple=True, type=PATH, metavar="IMAGE...", help="Compare on these images, too."
)
@click.option("--fp16", is_flag=True, help="Make fp16: half precision, for GPUs.")
@click.option(
    "--fp16-weights", is_flag=True, help="Make fp16-weights: half the size, computed in float32."
)
@click.option(
    "-c",
    "--contrast",
    "contrasts",
    multiple=True,
    metavar="NAME",
    help="Contrast of each image of a case, for models that tell them apart.",
)
@click.option(
    "--gate",
    "gates",
    multiple=True,
    metavar="NAME=DICE",
    callback=_gates,
    help="Dice to fp32 that a label must reach on every image, or foreground: all labels together. "
    "[default: 0.98, foreground 0.99]",
)
@click.option(
    "--only", is_flag=True, help="Leave the networks in fp32 out; runs must name the precision."
)
@click.option("--no-gate", is_flag=True, help="Write without comparing; the manifest says so.")
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="Bundle to write. [default: BUNDLE itself]"
)
@run_options
def quantize(
    bundle: Path,
    gates: dict[str, float],
    no_gate: bool,
    output: Path | None,
    force: bool,
    verbose: bool,
    **choices: Any,
) -> None:
    """Add variants in other precisions to a bundle, if their results agree with its own.

    BUNDLE is a bundle folder, and comes before the images. For a model of several channels these
    are the channels of one case after the other.
    """
    if gates and no_gate:
        raise click.UsageError("--gate and --no-gate were given; one of them is needed.")
    from deepseg_export.quantize.agreement import Gate
    from deepseg_export.quantize.request import Request
    from deepseg_export.quantize.variants import quantize

    request = Request(gate=None if no_gate else Gate(gates), **choices)
    click.echo(quantize(bundle, output or bundle, request, force=force))
