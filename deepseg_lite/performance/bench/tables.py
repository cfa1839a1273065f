"""Tables of a benchmark: for people, and rows for the table of SCT's wiki."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepseg_lite.machine import Machine, specifications
from deepseg_lite.performance.bench.figures import STAGES

SPEED_HEAD = (
    *("NAME", "DEVICE", "PRECISION", "FORM", "THREADS", "COLD, s", "WARM, s", "MIN, s", "PATCHES"),
    *("PATCHES/s", "VOXELS/s", "VOLUMES/h", "GFLOP/s", "OF GEMM", "PEAK, MB", "GPU, MB"),
)
WIKI_HEAD = (
    *("DL Model Name", "Image Used", "Image pixdim", "Image dim"),
    *("GPU Inference Time", "GPU Specs", "CPU Inference Time", "CPU Specs"),
    *("SCT Version", "DL Model Release"),
)
NAMES = ("name", "device", "precision", "form", "threads")


def report_in_words(document: Mapping[str, Any]) -> str:
    """Return what a benchmark found: two tables, the machine, and the rows for SCT's wiki."""
    results = document["results"]
    gemm = ", ".join(f"{gemm:.0f} ({n})" for n, gemm in document["gemm_gflop_per_s"].items())
    facts = (
        ("machine", str(Machine(**document["machine"]))),
        ("float32 matrix products, GFLOP/s (threads)", gemm),
        ("image", " + ".join(document["images"])),
        ("passes", f"1 cold, {document['repeat']} warm"),
        ("deepseg-lite", f"{document['version']}, {document['date'][:10]}"),
    )
    return "\n\n".join(
        (
            _aligned([SPEED_HEAD, *map(_speed_row, results)]),
            "Seconds per stage, cold (a new process) and warm (median of the passes):",
            _aligned(_stage_rows(results)),
            "\n".join(f"{name}: {fact}" for name, fact in facts),
            "For the table that issue 4795 of the Spinal Cord Toolbox asks for:",
            wiki_table(document).rstrip(),
        )
    )


def wiki_table(document: Mapping[str, Any]) -> str:
    """Return a Markdown table with a row per model, in the columns of the table of SCT's wiki.

    Notes
    -----
    Source: the page "DL models: Inference time" of the Spinal Cord Toolbox's wiki, to which its
    issue 4795 asks for more rows. Its times are those of new processes, without imports, models
    and files. Of several configurations the fastest in float32 counts.
    """
    cpu, *gpus = specifications(Machine(**document["machine"]))
    exact = [result for result in document["results"] if result["precision"] == "fp32"]
    rows = [WIKI_HEAD, ("---",) * len(WIKI_HEAD)]
    for model in dict.fromkeys(result["model"] for result in exact):
        runs = [result for result in exact if result["model"] == model]
        image = runs[0]["image"]
        rows.append(
            (
                f"deepseg-lite run {runs[0]['name']}",
                " + ".join(document["images"]),
                ", ".join(f"{size:g}" for size in image["spacing_mm"]),
                ", ".join(map(str, image["shape"])),
                _fastest([run for run in runs if not run["on_cpu"]]),
                ", ".join(gpus) or "-",
                _fastest([run for run in runs if run["on_cpu"]]),
                cpu,
                f"deepseg-lite {document['version']}",
                runs[0]["version"],
            )
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _fastest(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the shortest time of inference in the wiki's words."""
    if not runs:
        return "-"
    seconds = min(run["cold"]["inference_seconds"] for run in runs)
    minutes, seconds = divmod(round(seconds, 1 if seconds < 60 else 0), 60)
    return f"{minutes:.0f} m {seconds:.{0 if minutes else 1}f} s"


def _speed_row(result: Mapping[str, Any]) -> tuple[str, ...]:
    rates, warm = result["rates"], result["warm"]["seconds"]
    share = rates["share_of_gemm"]
    return (
        *(str(result[name]) for name in NAMES),
        f"{result['cold']['seconds']:.2f}",
        f"{warm['median']:.2f}",
        f"{warm['min']:.2f}",
        str(result["patches"]),
        f"{rates['patches_per_s']:.2f}",
        f"{rates['voxels_per_s']:,}",
        f"{rates['volumes_per_h']:.0f}",
        "" if rates["gflop_per_s"] is None else f"{rates['gflop_per_s']:.1f}",
        "" if share is None else f"{share:.2f}",
        f"{result['peak_memory']['cold'] / 1e6:.0f}",
        "" if result["gpu_memory"] is None else f"{result['gpu_memory'] / 1e6:.0f}",
    )


def _stage_rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    head = (*map(str.upper, NAMES), "PASS", *(stage.title.upper() for stage in STAGES.values()))
    rows = [head]
    for result in results:
        names = tuple(str(result[name]) for name in NAMES)
        warm = {stage: seconds["median"] for stage, seconds in result["warm"]["stages"].items()}
        for title, stages in (("cold", result["cold"]["stages"]), ("warm", warm)):
            rows.append((*names, title, *(f"{stages[stage]:.3f}" for stage in STAGES)))
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines: names to the left, numbers to the right, empty columns left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    padded = []
    for column in columns:
        width = max(map(len, column))
        is_text = column[0].lower() in (*NAMES[:-1], "pass")
        padded.append([f"{cell:<{width}}" if is_text else f"{cell:>{width}}" for cell in column])
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))
