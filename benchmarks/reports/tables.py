"""Tables of a result, in Markdown. Results of schema 1 lack some figures: their cells are empty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Any

STAGES = (
    *("start", "import", "load", "read"),
    *("preprocess", "predict", "restore", "write", "other"),
)
SHOWN_VERSIONS = (
    *("deepseg-lite", "nnunetv2", "monai", "ivadomed", "torch"),
    *("onnxruntime", "onnxruntime-gpu", "openvino", "numpy", "scipy"),
)
MANY_STRUCTURES = 3
Facts = Mapping[str, Any]


def main_runs(result: Facts) -> str:
    """Return the runs that matter most, a row each, beside what they are compared with."""
    rows = [
        (
            case["title"],
            title(result, run),
            f"{median(seconds(run)):.1f} of {median(seconds(base)):.1f}",
            f"{median(run['peak_mb']):.0f} of {median(base['peak_mb']):.0f}",
            f"{agreement['differing']:,} of {agreement['voxels']:,}",
            lowest_dice(agreement["dice"]),
        )
        for case, run, base, agreement in compared(result)
        if agreement and run.get("main", True)
    ]
    head = "case|run with|seconds|memory, MB|voxels that differ|Dice"
    return f"{table(head, rows)}\n\n{hardware_line(result)}"


def all_runs(result: Facts) -> str:
    """Return wall time, memory and agreement of every case and run."""
    rows = [
        (
            case["title"],
            title(result, run),
            f"{median(seconds(run)):.2f} ({min(seconds(run)):.2f})",
            f"{median(seconds(run)) / median(seconds(base)):.2f}",
            f"{median(run['peak_mb']):.0f}",
            f"{median(run['peak_mb']) / median(base['peak_mb']):.2f}",
            f"{agreement['differing']:,} of {agreement['voxels']:,}" if agreement else "",
            all_dice(agreement["dice"]) if agreement else "",
        )
        for case, run, base, agreement in compared(result)
    ]
    head = "case|implementation|wall, s|ratio|peak memory, MB|ratio|voxels that differ|Dice"
    return f"{table(head, rows)}\n\n{hardware_line(result)}"


def networks(result: Facts) -> str:
    """Return what the networks alone take, and how near that is to a matrix product."""
    rows = []
    for case, run, _, _ in compared(result):
        if measured := run.get("network_seconds"):
            each = median(measured) / run["patches"]
            speed = gflops(case, run)
            rows.append(
                (
                    case["title"],
                    title(result, run),
                    run.get("form", ""),
                    str(run["patches"]),
                    f"{case['flop_per_patch'] / 1e9:.1f}" if speed else "",
                    f"{each:.3f}",
                    f"{speed:.0f}" if speed else "",
                    share_of_gemm(result, case, run),
                )
            )
    head = "case|implementation|form|patches|GFLOP per patch|s per patch|GFLOP/s|of GEMM"
    return f"{table(head, rows)}\n\n{gemm_line(result)}".rstrip()


def stages(result: Facts) -> str:
    """Return the median seconds of every stage."""
    rows = []
    for case, run, _, _ in compared(result):
        medians = [run["seconds"].get(stage) for stage in STAGES]
        cells = ["" if values is None else f"{median(values):.2f}" for values in medians]
        rows.append((case["title"], title(result, run), *cells, str(run["network_calls"])))
    return table("|".join(("case|implementation", *STAGES, "network calls")), rows)


def startup(result: Facts) -> str:
    """Return what each stack costs before it works."""
    rows = []
    for name, stack in result["stacks"].items():
        measured = result["startup"][name]
        times = [
            f"{median(measured[key]):.2f}" if key in measured else ""
            for key in ("interpreter", "import", "help")
        ]
        first = [median(r["first_patch"]) for _, r, _, _ in compared(result) if r["stack"] == name]
        sizes = [stack.get("without_byte_code_mb"), stack["installed_mb"]]
        rows.append(
            (
                stack["title"],
                *times,
                " to ".join(dict.fromkeys(f"{f(first):.2f}" for f in (min, max) if first)),
                *("" if size is None else f"{size:.0f}" for size in sizes),
                str(len(stack["versions"])),
            )
        )
    head = "implementation|Python alone, s|imports, s|`-h`, s|start to first patch, s"
    return table(f"{head}|installed, MB|with byte code, MB|distributions", rows)


def machines(result: Facts) -> str:
    """Return what was measured, when and with which versions."""
    rows = [("machine", hardware_line(result)), ("commit", f"`{result['commit']}`")]
    for stack in result["stacks"].values():
        versions = [f"{n} {stack['versions'][n]}" for n in SHOWN_VERSIONS if n in stack["versions"]]
        text = ", ".join([f"Python {stack['python']}", *versions])
        if early := stack["imported_by_environment"]:
            text += f"; its environment imports {', '.join(early)} whenever Python starts"
        if absent := stack.get("absent"):
            text += f"; without {', '.join(absent)}"
        rows.append((stack["title"], text))
    return table("|", rows)


def compared(result: Facts) -> Iterator[tuple[Facts, Facts, Facts, Facts | None]]:
    """Yield every case and run, the run it is compared with, and their agreement."""
    for case in result["cases"].values():
        reference = case["runs"][case.get("reference") or result["reference"]]
        for name, run in case["runs"].items():
            yield case, run, reference, case["agreement"].get(name)


def seconds(run: Facts) -> list[float]:
    """Return wall times: of the later cases where there are several, else of whole processes."""
    return run.get("warm") or run["wall"]


def gflops(case: Facts, run: Facts) -> float | None:
    """Return 10^9 operations per second of the network, None where they are not known."""
    if not (case.get("flop_per_patch") and run.get("network_seconds")):
        return None
    return case["flop_per_patch"] * run["patches"] / median(run["network_seconds"]) / 1e9


def share_of_gemm(result: Facts, case: Facts, run: Facts) -> str:
    """Return a network's speed over that of the fastest float32 matrix product of any stack."""
    speed, measured = gflops(case, run), result.get("gemm")
    if speed is None or not measured:
        return ""
    return f"{speed / max(found['float32'] for found in measured.values()):.2f}"


def gemm_line(result: Facts) -> str:
    """Return the speeds of matrix products in one line."""
    texts = [
        f"{result['stacks'][name]['title']} ({found['library']}) "
        + ", ".join(
            f"{kind} {found[kind]:.0f}" for kind in ("float32", "bfloat16") if kind in found
        )
        for name, found in result.get("gemm", {}).items()
    ]
    return f"Matrix products, GFLOP/s: {'; '.join(texts)}." if texts else ""


def hardware_line(result: Facts) -> str:
    """Return where, when and how often, in one line."""
    counts = sorted({len(run["wall"]) for _, run, _, _ in compared(result)})
    times = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return (
        f"{machine_line(result['machine'])}; {result['threads']} threads, "
        f"median (minimum) of {times}, {result['date'][:10]}."
    )


def machine_line(machine: Facts) -> str:
    """Return what something was measured on, in one line."""
    parts = [machine.get("gpu"), machine["cpu"], f"{machine['cores']} cores"]
    return ", ".join(filter(None, [*parts, f"{machine['memory_gb']} GB", machine["os"]]))


def title(result: Facts, run: Facts) -> str:
    """Return the name of what ran."""
    name = result["stacks"][run["stack"]]["title"]
    return f"{name}, {run['variant']}" if run.get("variant") else name


def all_dice(scores: Mapping[str, float | None]) -> str:
    """Return the Dice of each structure, of many only the lowest."""
    if len(scores) > MANY_STRUCTURES:
        return f"{lowest_dice(scores)} (lowest of {len(scores)})"
    texts = ("absent in both" if v is None else f"{v:.5f}" for v in scores.values())
    return ", ".join(f"{name} {text}" for name, text in zip(scores, texts, strict=True))


def lowest_dice(scores: Mapping[str, float | None]) -> str:
    """Return the lowest Dice of the structures that are there."""
    present = [score for score in scores.values() if score is not None]
    return f"{min(present):.5f}" if present else "all absent"


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; ``head`` has its columns separated by ``|``."""
    lines = [head.split("|"), ["---"] * (head.count("|") + 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
