"""Parts of the benchmark: figures, tables, the plot, the machine and the processes."""

from __future__ import annotations

import os
import platform
import stat
import sys
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.bundles import write_bundle

import deepseg_lite
from deepseg_lite import machine
from deepseg_lite.api.cases import name_outputs, run_case
from deepseg_lite.bundles.networks import Network
from deepseg_lite.engines.onnxruntime_network import CPU, CUDA
from deepseg_lite.errors import DeepsegError, OptionError, ProviderError
from deepseg_lite.machine import Machine, available_threads, describe_machine, gpu_memory
from deepseg_lite.performance.bench import running
from deepseg_lite.performance.bench.figures import INFERENCE, STAGES, figures
from deepseg_lite.performance.bench.plot import draw_stages
from deepseg_lite.performance.bench.running import Configuration, combine
from deepseg_lite.performance.bench.stopwatch import Call, Stopwatch
from deepseg_lite.performance.bench.tables import WIKI_HEAD, report_in_words, wiki_table
from deepseg_lite.performance.processes import THREAD_VARIABLES, run_module

NETWORK = Network(path="a.onnx", sha256="0" * 64, size=1, fold="0")
WORKSTATION = Machine("Some CPU", 16, 128 * 2**30, "Some OS, x86_64", ("Some GPU (12GB)",))


def make_pass(network: float, flop: int | None = 10**9, **stages: float) -> dict:
    """Return a pass of 4 patches."""
    seconds = dict.fromkeys(STAGES, 0.0) | {"network": network} | stages
    return {"seconds": sum(seconds.values()), "stages": seconds, "patches": 4, "flop": flop}


def make_report(*passes: dict, provider: str = CPU, precision: str = "fp32") -> dict:
    """Return what a worker says of a volume of 1000 voxels."""
    return {
        "name": "tiny",
        "bundle": "tiny",
        "version": "r1",
        "folds": 1,
        "provider": provider,
        "precision": precision,
        "form": "slices" if provider == CPU else "canonical",
        "threads": 2,
        "image": {"shape": [5, 10, 20], "spacing_mm": [0.5, 0.5, 3.0]},
        "passes": list(passes),
        "peak_memory": {"cold": 200_000_000, "warm": 210_000_000},
        "gpu_memory": None,
    }


def make_result(cold: dict, model: str = "tiny", **changes: str) -> dict:
    found = figures(make_report(cold, make_pass(2.0), **changes), 1e9)
    return {**asdict(Configuration(model, "auto", "fp32", 2)), **found, "name": Path(model).name}


@pytest.fixture
def document() -> dict:
    """Return a benchmark of two configurations on a machine with a GPU."""
    cold = make_pass(75.0, load=3.0, restore=5.0, write=7.0, **{"import": 11.0})
    return {
        "version": "1.2",
        "date": "2026-01-02T03:04:05+00:00",
        "machine": asdict(WORKSTATION),
        "images": ["t2.nii.gz"],
        "repeat": 1,
        "gemm_gflop_per_s": {"2": 150.0},
        "results": [
            make_result(cold),
            make_result(make_pass(4.0, blend=0.25), provider=CUDA),
        ],
        "errors": [],
    }


def test_figures_come_from_warm_passes_and_their_medians():
    warm = [make_pass(1.0, read=1.0), make_pass(4.0, read=1.0), make_pass(2.0, read=7.0)]
    found = figures(make_report(make_pass(50.0), *warm), gemm=2e9)
    assert found["warm"]["seconds"] == {"median": 5.0, "min": 2.0}
    assert found["warm"]["stages"]["network"] == {"median": 2.0, "min": 1.0}
    assert found["rates"] == {
        "patches_per_s": 2.0,
        "voxels_per_s": 200,
        "volumes_per_h": 720.0,
        "gflop_per_s": 0.5,
        "share_of_gemm": 0.25,
    }
    assert found["cold"]["seconds"] == 50.0
    assert (found["device"], found["on_cpu"], found["patches"]) == ("cpu", True, 4)


def test_operations_that_are_not_known_give_no_rate():
    found = figures(make_report(make_pass(1.0, None), make_pass(1.0, None)), gemm=2e9)
    assert found["rates"]["gflop_per_s"] is None
    assert found["rates"]["share_of_gemm"] is None


def test_a_gpu_is_not_compared_with_the_processors_matrix_products():
    found = figures(make_report(make_pass(1.0), make_pass(1.0), provider=CUDA), gemm=2e9)
    assert found["rates"]["gflop_per_s"] == 1.0
    assert found["rates"]["share_of_gemm"] is None
    assert (found["device"], found["on_cpu"]) == ("cuda", False)


def test_inference_leaves_out_what_sct_does_not_time():
    stages = {stage: 1.0 for stage in STAGES if stage != "network"}
    found = figures(make_report(make_pass(1.0, **stages), make_pass(1.0)), gemm=2e9)
    assert found["cold"]["seconds"] == len(STAGES)
    assert found["cold"]["inference_seconds"] == len(INFERENCE) == 4


def test_the_rows_have_the_columns_of_the_wiki_and_both_kinds_of_devices(document):
    head, rule, row, end = wiki_table(document).split("\n")
    assert head == (
        "| DL Model Name | Image Used | Image pixdim | Image dim | GPU Inference Time | GPU Specs "
        "| CPU Inference Time | CPU Specs | SCT Version | DL Model Release |"
    )
    assert rule.count("---") == len(WIKI_HEAD)
    assert row == (
        "| deepseg-lite run tiny | t2.nii.gz | 0.5, 0.5, 3 | 5, 10, 20 | 0 m 4.2 s "
        "| Some GPU (12GB) | 1 m 20 s | Some CPU (16 core, 128GB RAM) | deepseg-lite 1.2 | r1 |"
    )
    assert end == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0 m 0.0 s"), (59.96, "1 m 0 s"), (119.7, "2 m 0 s")]
)
def test_minutes_and_seconds_are_rounded_together(document, seconds, text):
    document["results"] = [make_result(make_pass(seconds))]
    assert f"| - | Some GPU (12GB) | {text} | Some CPU" in wiki_table(document)


def test_the_wiki_gets_the_fastest_exact_time_of_each_model(document):
    slow, fast = make_result(make_pass(9.0)), make_result(make_pass(6.0))
    rounded = make_result(make_pass(3.0), precision="bf16")
    other = make_result(make_pass(5.0), model="some/other")
    document["results"] = [slow, fast, rounded, other]
    rows = wiki_table(document).splitlines()[2:]
    assert [("tiny" in row, "0 m 6.0 s" in row) for row in rows] == [(True, True), (False, False)]
    assert "deepseg-lite run other" in rows[1]
    assert "0 m 5.0 s" in rows[1]


def test_people_see_speed_stages_and_the_machine(document):
    text = report_in_words(document)
    lines = text.splitlines()
    assert lines[0].split()[:5] == ["NAME", "DEVICE", "PRECISION", "FORM", "THREADS"]
    speed = "tiny cpu fp32 slices 2 101.00 2.00 2.00 4 2.00 500 1800 0.5 0.50 200"
    assert " ".join(lines[1].split()) == speed
    assert lines[2].split()[:4] == ["tiny", "cuda", "fp32", "canonical"]
    assert "GPU, MB" not in lines[0]  # nothing to say in it
    for name in ("cold", "warm"):
        assert sum(line.startswith("tiny ") and f" {name} " in line for line in lines) == 2
    assert "Some CPU (16 core, 128GB RAM), Some GPU (12GB), Some OS, x86_64" in text
    assert "150 (2)" in text
    assert wiki_table(document).strip() in text


def test_gpu_memory_has_a_column_where_it_is_known(document):
    document["results"][1]["gpu_memory"] = 3_000_000_000
    head, cpu, cuda, *_ = report_in_words(document).splitlines()
    assert head.endswith("GPU, MB")
    assert cuda.endswith("3000")
    assert len(cpu) < len(cuda)


def test_the_plot_is_xml_whose_bars_are_as_long_as_the_stages_took(document):
    root = ElementTree.fromstring(draw_stages(document))
    svg = "{http://www.w3.org/2000/svg}"
    pieces = [rect for rect in root.iter(f"{svg}rect") if rect.find(f"{svg}title") is not None]
    widths = {piece.find(f"{svg}title").text: float(piece.get("width")) for piece in pieces}
    second = widths["network: 75.000 s"] / 75
    for text, expected in [("import: 11.000 s", 11), ("write: 7.000 s", 7), ("load: 3.000 s", 3)]:
        assert widths[text] == pytest.approx(expected * second, abs=0.02)
    first_bar = [piece for piece in pieces if piece.get("y") == pieces[0].get("y")]
    ends = [float(piece.get("x")) + float(piece.get("width")) for piece in first_bar]
    starts = [float(piece.get("x")) for piece in first_bar]
    assert ends[:-1] == pytest.approx(starts[1:], abs=0.02)
    assert max(ends) <= float(root.get("width"))
    texts = [text.text for text in root.iter(f"{svg}text")]
    assert "tiny, cpu fp32, 2 threads, cold" in texts
    assert "resample and decode" in texts
    assert "crop" not in texts  # no bar has it


def test_names_cannot_break_the_plot(document):
    document["results"][0]["name"] = 'a<b>&"c"'
    root = ElementTree.fromstring(draw_stages(document))
    assert any('a<b>&"c", cpu' in (text.text or "") for text in root.iter())


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 0.1, 7.0, 12345.0])
def test_the_plot_holds_bars_of_any_length(document, scale):
    scaled = deepcopy(document)
    for result in scaled["results"]:
        result["cold"]["stages"] = {s: v * scale for s, v in result["cold"]["stages"].items()}
        result["warm"]["stages"] = {stage: {"median": 0.0} for stage in STAGES}
    root = ElementTree.fromstring(draw_stages(scaled))
    width = float(root.get("width"))
    edges = [float(r.get("x", 0)) + float(r.get("width")) for r in root if r.tag.endswith("rect")]
    assert max(edges) <= width
    assert 3 <= sum(element.tag.endswith("line") for element in root) <= 8


def test_stages_have_colours_of_their_own():
    assert len({stage.colour for stage in STAGES.values()}) == len(STAGES)


def test_the_stopwatch_divides_a_run_among_the_stages():
    stopwatch = Stopwatch()
    for stage, seconds in [("read", 1.0), ("predict", 3.0), ("predict", 3.0)]:
        stopwatch.add(stage, seconds)
    stopwatch._calls += [Call(NETWORK, 2, 512, 2.0), Call(NETWORK, 1, 512, 2.5)]
    stages, calls = stopwatch.take(9.0)
    assert list(stages) == list(STAGES)
    assert {stage: seconds for stage, seconds in stages.items() if seconds} == {
        "read": 1.0,
        "network": 4.5,
        "blend": 1.5,
        "other": 2.0,
    }
    assert len(calls) == 2
    assert stopwatch.take(0.0) == (dict.fromkeys(STAGES, 0.0), [])


def test_stages_beside_each_other_leave_nothing_negative():
    stopwatch = Stopwatch()
    stopwatch.add("predict", 1.0)
    stopwatch.add("preprocess", 2.0)
    stopwatch._calls.append(Call(NETWORK, 1, 512, 1.5))
    stages, _ = stopwatch.take(2.5)
    assert (stages["blend"], stages["other"]) == (0.0, 0.0)


def test_the_stages_of_a_real_run_are_those_of_the_benchmark(tmp_path, image_file):
    """A stage that the pipeline renames would be lost otherwise."""
    stopwatch = Stopwatch()
    model = deepseg_lite.load(write_bundle(tmp_path / "folds", "folds"), device="cpu")
    (case,) = name_outputs(model, [[image_file]], tmp_path / "out")
    run_case(model, case, watch=stopwatch)
    assert {*stopwatch.seconds} - {"open", "predict"} <= {*STAGES}
    stages, calls = stopwatch.take(60.0)
    for stage in ("load", "read", "preprocess", "network", "blend", "restore", "write", "other"):
        assert stages[stage] > 0, stage
    assert {call.network.fold for call in calls} == {"0", "1"}


def test_precisions_that_one_of_the_devices_lacks_are_left_out_for_it(monkeypatch, caplog):
    offered = {("slow", "fp32"), ("fast", "fp32"), ("fast", "half")}

    def choose(*pair):
        if pair not in offered:
            raise OptionError(f"no {pair}")

    monkeypatch.setattr(running, "choose_engine", choose)
    found = combine(["slow", "fast"], ["fp32", "half"], [1])
    assert {(device, precision) for device, precision, _ in found} == offered
    assert [record.getMessage() for record in caplog.records] == [
        "slow has no half, which is left out for it."
    ]


def test_a_precision_that_no_device_has_is_an_error():
    assert combine(["cpu", "auto"], ["fp32"], [1, 2]) == [
        ("cpu", "fp32", 1),
        ("cpu", "fp32", 2),
        ("auto", "fp32", 1),
        ("auto", "fp32", 2),
    ]
    with pytest.raises(OptionError, match="bf16"):
        combine(["cpu"], ["fp32", "bf16"], [1])
    with pytest.raises(OptionError, match="fp64"):
        combine(["cpu"], ["fp64"], [1])
    with pytest.raises(ProviderError, match="ROCM"):
        combine(["cpu", "rocm"], ["fp32"], [1])


def test_the_machine_is_described_without_its_name():
    found = describe_machine()
    assert found.cpu
    assert found.cores == available_threads()
    assert platform.node() not in str(found)


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """Return a function that installs an nvidia-smi with a given answer."""
    if os.name == "nt":
        pytest.skip("the stand-in for nvidia-smi is a shell script")

    def install(answer: str, code: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\nprintf '{answer}'\nexit {code}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path))

    return install


def test_gpus_and_their_memory_are_nvidias_own_answer(nvidia):
    nvidia("1024\\n512\\n")
    assert gpu_memory() == 1536 * 2**20
    nvidia("Some GPU, 12288\\nAnother, Ti, 24576\\n")
    assert machine._gpus() == ("Some GPU (12GB)", "Another, Ti (24GB)")


@pytest.mark.parametrize(("answer", "code"), [("[N/A]\\n", 0), ("no devices\\n", 9), ("", 0)])
def test_no_answer_is_no_gpu(nvidia, answer, code):
    nvidia(answer, code)
    assert gpu_memory() is None
    assert machine._gpus() == ()


def test_without_nvidias_program_there_is_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory() is None


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that makes a module of some code, and returns its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(code: str) -> str:
        (tmp_path / "bench_stand_in.py").write_text(f"import json, os, sys, time\n{code}\n")
        return "bench_stand_in"

    return make


def test_a_process_is_heard_line_by_line_and_given_threads(module):
    name = module(
        "print('some library says hello')\n"
        "print(json.dumps({'pass': 1}), flush=True)\n"
        f"print(json.dumps({{'said': sys.argv[1:], 'env': [os.environ[n] for n in "
        f"{THREAD_VARIABLES}]}}))"
    )
    lines = []
    found = run_module(name, "a b", "c", blas_threads=3, on_line=lines.append)
    assert lines == [{"pass": 1}]
    assert found == {"said": ["a b", "c"], "env": ["3"] * len(THREAD_VARIABLES)}


def test_files_in_the_users_folder_hide_no_modules(module, tmp_path, monkeypatch):
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 cannot leave its folder out")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.chdir(folder)
    assert run_module(module("print(json.dumps({'a': 1}))"), blas_threads=1) == {"a": 1}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('{}'); sys.exit('some reason')", "exit code 1 .some reason."),
        ("print('{}', flush=True); os._exit(3)", "exit code 3 .it said nothing."),
        pytest.param(
            "os.kill(os.getpid(), 9)",
            "ended by signal 9",
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows has no signal 9"),
        ),
    ],
)
def test_a_process_that_fails_is_an_error_of_one_line(module, code, message):
    with pytest.raises(DeepsegError, match=message) as caught:
        run_module(module(code), blas_threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="signal 0 is POSIX's")
def test_an_interrupt_ends_the_process(module):
    name = module(
        "print(json.dumps({'pid': os.getpid()}), flush=True)\n"
        "print('{}', flush=True)\n"
        "time.sleep(3600)"
    )
    pids = []

    def interrupt(line):
        pids.append(line["pid"])
        os.kill(line["pid"], 0)  # it is alive
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_module(name, blas_threads=1, on_line=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
