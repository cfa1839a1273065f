"""The command that says what a run will take. Heavy imports stay inside it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from deepseg_lite.cli.console import report_error, say, set_logging
from deepseg_lite.cli.options import RunCommand, cases_of, load_model, settings_of
from deepseg_lite.cli.run import HOW, INPUTS, REPORTS

if TYPE_CHECKING:
    from deepseg_lite.performance.plan.case import CasePlan


_logger = logging.getLogger("deepseg_lite")
MIB = 2**20


def _plan(**given: Any) -> None:
    """Say what a run will take: patches, time, memory and disk.

    Headers alone are read. Options are those of "deepseg-lite run". Time is that of the last runs
    on this machine, by the size of the image. A network is measured with two patches when it is
    first planned here.
    """
    ctx = click.get_current_context()
    set_logging(given["verbose"], quiet=given["quiet"])
    for remark in ctx.meta["remarks"]:
        _logger.warning("%s", remark)
    from deepseg_lite.notice import log
    from deepseg_lite.performance.plan.case import memory_of, plan_case, seconds_of
    from deepseg_lite.performance.plan.costs import Costs
    from deepseg_lite.performance.plan.limit import stay_below

    model = load_model(given)
    settings = settings_of(given, model.bundle)
    costs = Costs(model.engine, model.threads, given["calibrate"])
    cases = cases_of(given, ctx.meta["case_sizes"], model.bundle)
    if given["max_ram"] is not None:
        settings = stay_below(model, cases, settings, given["max_ram"], costs)
    plans, errors = [], []
    for images in cases:
        try:
            plans.append(plan_case(model, images, settings, costs, log))
        except Exception as error:
            files = [str(path) for path in images]
            errors.append({"images": files, "error": report_error(error)})
    memory, seconds = memory_of(plans, settings), seconds_of(plans)
    if given["as_json"]:
        found = {
            "cases": [_document(case) for case in plans],
            **{"seconds": seconds, "memory": memory, "errors": errors},
        }
        say(json.dumps(found, indent=2))
    elif plans:
        say("\n\n".join(map(_in_words, plans)))
    if len(plans) > 1 and not given["as_json"]:
        time = "time not known" if seconds is None else f"{seconds:.1f} s"
        say(f"\n{len(plans)} cases: {time}, {memory / 1e6:.0f} MB of memory")
    if errors:
        ctx.exit(1)


plan = RunCommand(
    "plan",
    report={"cases": [], "seconds": None, "memory": 0},
    callback=_plan,
    help=_plan.__doc__,
    params=[
        *INPUTS,
        *HOW,
        *REPORTS,
        click.Option(
            ["--calibrate/--no-calibrate"],
            default=True,
            help="Measure networks that were never measured on this machine; without that there "
            "may be no time, and memory is estimated.",
        ),
    ],
)


def _document(case: CasePlan) -> dict[str, Any]:
    """Return a plan for programs, sizes in bytes; the names of fields change, its keys do not."""
    kept = ("bundle", "form", "grid", "patch", "patches", "folds", "passes", "batch", "calls")
    return {
        "images": case.images,
        "shape": case.shape,
        "spacing": case.spacing,
        "parts": [
            {
                **{name: getattr(part, name) for name in (*kept, "seconds", "source")},
                "memory": part.memory_bytes,
                "later": part.warm_bytes,
                "beside": part.overlap_bytes,
                "kept": part.resident_bytes,
                "size": part.bundle_bytes,
            }
            for part in case.parts
        ],
        "disk": case.disk_bytes,
        "unknown": case.unknown,
        "network_seconds": case.network_seconds,
        "seconds": case.seconds,
        "memory": case.memory_bytes,
    }


def _in_words(case: CasePlan) -> str:
    """Return a plan for people."""
    rows: list[tuple[str, ...]] = [
        ("network", "form", "grid", "patch", "patches", "folds", "passes", "calls", "seconds", "MB")
    ]
    rows += [
        (
            part.bundle,
            part.form,
            _times(part.grid),
            _times(part.patch),
            *map(str, (part.patches, part.folds, part.passes, part.calls)),
            "?" if part.seconds is None else f"{part.seconds:.1f}",
            str(math.ceil(part.memory_bytes / 1e6)),
        )
        for part in case.parts
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  "
        + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    spacing = " x ".join(f"{size:.3g}" for size in case.spacing)
    networks = case.network_seconds
    time = "time not known" if networks is None else f"{networks:.1f} s in networks"
    if case.seconds is not None:
        time = f"last runs here: {case.seconds:.1f} s, {time}"
    head = f"{', '.join(case.images)}: {_times(case.shape)} voxels of {spacing} mm"
    sizes = (
        f"{case.memory_bytes / 1e6:.0f} MB of memory, up to {case.disk_bytes / 1e6:.1f} MB of disk"
    )
    total = f"  {time}, {sizes}"
    at_most = [f"  At most: a header does not tell {' and '.join(case.unknown)}."]
    return "\n".join([head, *lines, total, *(at_most if case.unknown else [])])


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
