"""Command that says what is wrong on this machine. Heavy imports stay inside it."""

from __future__ import annotations

import json

import click

from deepseg_lite.cli.console import say


@click.command(short_help="Say what is wrong on this machine, and what helps.")
@click.option("--full", is_flag=True, help="Also read every file of every model, for its hash.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, /, full: bool, as_json: bool) -> None:
    """Say what is wrong on this machine, what helps, and what a bug report needs.

    Names of the user and of the home folder are left out. Exit code 0: runs work; 1: there is a
    problem. A small image is segmented on every device.
    """
    from deepseg_lite.doctor.examination import checks, examine
    from deepseg_lite.doctor.report import document, page, without_private

    found = without_private(examine(checks(full=full)))
    say(json.dumps(document(found), indent=2) if as_json else page(found))
    if found.problems:
        ctx.exit(1)
