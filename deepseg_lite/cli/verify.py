"""The command that proves a machine's results. Heavy imports stay inside it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from deepseg_lite.api.load_options import LoadOptions, ModelOptions
from deepseg_lite.cli.console import report_error, say, set_logging
from deepseg_lite.cli.files import FilePath, ModelName
from deepseg_lite.cli.options import given_of, options_of
from deepseg_lite.text import printable

if TYPE_CHECKING:
    from deepseg_lite.store.receipts import Receipt
    from deepseg_lite.verification.comparing import Row

EXIT_DIFFERS = 4


def _verify(**given: Any) -> None:
    """Show that this machine gives the original software's result.

    Runs the reference cases of a task's model or a bundle, and counts the voxels that differ from
    what the original software gave for them. Exits with 4 where they are more than the bundle
    allows. A receipt says so, with machine and versions; "list" and "info" tell of it.
    """
    ctx = click.get_current_context()
    if given["as_json"] and given["compare"] is not None:
        raise click.UsageError("--compare prints a table; leave --json out.", ctx)
    set_logging(given["verbose"], quiet=given["quiet"])
    from deepseg_lite.api.loader import load
    from deepseg_lite.atomic import make_folder, write_files
    from deepseg_lite.errors import OptionError, OutputError
    from deepseg_lite.store.receipts import as_bytes, keep, read_receipt
    from deepseg_lite.verification.comparing import compare
    from deepseg_lite.verification.receipt import check_references, make_receipt

    written = given["output"]
    if written is not None and os.path.lexists(written) and not given["overwrite"]:
        raise OptionError(f"{written} exists; add `overwrite` or give another name.")
    other = None if given["compare"] is None else read_receipt(given["compare"])
    options = cast("LoadOptions", {**given_of(ModelOptions, given), "open_networks": False})
    model = load(given["task_or_bundle"], **options)
    check_references(model.bundle)
    receipt = make_receipt(model)
    rows = None if other is None else compare(other, receipt)
    if written is not None:
        make_folder(written.parent)
        write_files({written: as_bytes(receipt)}, overwrite=given["overwrite"])
    try:
        kept = keep(receipt)
    except OutputError as error:
        report_error(error)
    else:
        written = written or kept
    if given["as_json"]:
        say(json.dumps(receipt, indent=2))
    else:
        say(_in_words(receipt))
        if rows is not None:
            say("\n" + _side_by_side(rows))
        if written is not None:
            say(f"\n{printable(written)}")
    if receipt["within"] is False:
        ctx.exit(EXIT_DIFFERS)


verify = click.Command(
    "verify",
    callback=_verify,
    help=_verify.__doc__,
    params=[
        click.Argument(["task_or_bundle"], type=ModelName()),
        click.Option(
            ["-o", "--output"],
            type=FilePath(),
            metavar="FILE",
            help="Write the receipt, JSON, here as well. [default: the local cache alone]",
        ),
        click.Option(["--overwrite"], is_flag=True, help="Replace a receipt that is there."),
        click.Option(
            ["--compare"],
            type=FilePath(),
            metavar="RECEIPT",
            help="Show another machine's receipt beside this one's.",
        ),
        *options_of(ModelOptions),
        click.Option(["as_json", "--json"], is_flag=True, help="Print the receipt on stdout."),
        click.Option(["-v", "--verbose"], count=True, help="Say more; -vv more still."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Say only errors."),
    ],
)


def _in_words(receipt: Receipt) -> str:
    from deepseg_lite.bundles.files import CANONICAL

    bundle, engine = receipt["bundle"], receipt["engine"]
    packages = ", ".join(f"{name} {number}" for name, number in engine["packages"].items())
    head = f"{bundle['name']} {bundle['version']} on {engine['device']} in {engine['precision']}"
    if engine.get("form", CANONICAL) != CANONICAL:
        head += f" with the form {engine['form']}"
    rows = [("REFERENCE", "LABEL", "ORIGINAL", "HERE", "DIFFER", "MAY")]
    for row in receipt["references"]:
        bound = "?" if row["bound"] is None else f"{row['bound']:,}"
        name = row["name"]
        for label in row["labels"]:
            counts = (f"{label[key]:,}" for key in ("original", "here", "differing"))
            rows.append((name, label["label"], *counts, ""))
            name = ""
        all_of = f"all of {row['voxels']:,}"
        rows.append((name, all_of, "", "", f"{row['differing']:,}", bound))
    made_by = {row["software"] for row in receipt["references"]}
    return "\n".join(
        [
            f"{head} ({packages})",
            f"Compared with: {'; '.join(sorted(made_by))}",
            "",
            _table(rows),
            "",
            _verdict(receipt),
        ]
    )


def _verdict(receipt: Receipt) -> str:
    differing = sum(row["differing"] for row in receipt["references"])
    voxels = sum(row["voxels"] for row in receipt["references"])
    count = f"{differing:,} of {voxels:,} voxels differ"
    if receipt["within"] is None:
        precision = receipt["engine"]["precision"]
        return f"{count}. The bundle does not say how many may, in {precision}."
    if receipt["within"]:
        allowed = ", no more than the bundle allows" if differing else ""
        return f"This machine gives the original's result: {count}{allowed}."
    return (
        f"This machine does not give the original's result: {count}, more than may. Send the "
        "receipt to whoever keeps the model, with deepseg-lite --version -v."
    )


def _side_by_side(rows: Sequence[Row]) -> str:
    lines = [("", "THERE", "HERE", "")]
    lines += [(row.fact, row.there, row.here, "same" if row.is_same else "") for row in rows]
    results = [row.is_same for row in rows if row.is_result]
    verdict = "the same voxels" if all(results) else "other voxels in some"
    return f"{_table(lines)}\n\nOf {len(results)} references, both machines have {verdict}."


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
