"""Processes for a machine: cores, memory and cases are limits, queues may set lower ones."""

from __future__ import annotations

import re
import subprocess
import sys

import nibabel as nib
import pytest
from helpers.bundles import write_bundle
from helpers.jobs import make_images, make_job

from deepseg_lite.api.phantom import make_phantom
from deepseg_lite.dataset import sizing
from deepseg_lite.dataset.cgroups import Groups
from deepseg_lite.machine import available_threads

MIB = 2**20
PEAKS = """
import os, subprocess, sys, time
from pathlib import Path

def parts(number, name):
    try:
        return Path("/proc", number, name).read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return ["0"] * 3

process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
peak = 0
while process.poll() is None:
    parents = {n: parts(n, "stat")[1] for n in filter(str.isdigit, os.listdir("/proc"))}
    family = {str(process.pid)}
    while more := {n for n, parent in parents.items() if parent in family} - family:
        family |= more
    memory = [parts(number, "statm") for number in family]
    own = sum(int(pages) - int(shared) for _, pages, shared, *_ in memory)
    peak = max(peak, own * os.sysconf("SC_PAGE_SIZE"))
    time.sleep(0.01)
assert process.returncode == 0
print(peak >> 20)
"""
"""Prints the most memory, in MiB, that a command and its processes had to themselves at a time."""


@pytest.fixture
def jobs(tiny_bundle, tmp_path):
    return [make_job(tiny_bundle, image) for image in make_images(tmp_path / "in", "abcdef")]


@pytest.mark.parametrize(
    ("machine_cores", "free_workers", "expected"),
    [(4, 10, 4), (4, 2.5, 2), (4, 0.1, 1), (32, 99, 6)],
)
def test_workers_fit_cores_memory_and_cases(
    jobs, monkeypatch, machine_cores, free_workers, expected
):
    monkeypatch.setattr(sizing, "cores", lambda: machine_cores)
    each, on_gpu = sizing.memory_of_worker(jobs, 1)
    assert not on_gpu
    assert 30 * MIB < each < 1000 * MIB
    monkeypatch.setattr(sizing, "free_memory", lambda: int(free_workers * each / sizing.SHARE) + 1)
    assert sizing.choose_workers(jobs) == expected


def test_a_gpu_or_memory_that_nobody_knows_make_one_worker(jobs, monkeypatch):
    monkeypatch.setattr(sizing, "cores", lambda: 4)
    monkeypatch.setattr(sizing, "free_memory", lambda: None)
    assert sizing.choose_workers(jobs) == 1
    monkeypatch.setattr(sizing, "free_memory", lambda: 1 << 40)
    monkeypatch.setattr(sizing, "device_of", lambda engine: "cuda")
    assert sizing.choose_workers(jobs) == 1


def test_more_tasks_take_more_memory(jobs, tmp_path):
    second = write_bundle(tmp_path / "second")
    more = [*jobs, make_job(second, tmp_path / "in" / "a.nii.gz")]
    assert sizing.memory_of_worker(more, 1)[0] > sizing.memory_of_worker(jobs, 1)[0]


def test_a_queue_is_asked_for_a_quarter_more_and_for_who_watches(jobs):
    each, _ = sizing.memory_of_worker(jobs, 1)
    assert sizing.memory_to_ask_for(jobs, 1, 1) == int(each / 0.8)
    assert sizing.memory_to_ask_for(jobs, 3, 1) == int((3 * each + sizing.SUPERVISOR_BYTES) / 0.8)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_takes_less_than_a_queue_is_asked_for(workers, tmp_path):
    for seed in range(4):
        phantom = make_phantom(seed, shape=(112, 112, 3))
        image = nib.Nifti1Image(phantom.image, phantom.affine)
        nib.save(image, tmp_path / f"{seed}.nii.gz")
    words = ["batch", tmp_path, tmp_path / "out", "--task", "sc_gm_t2star", "--threads", 1]
    words = [*map(str, words), "--device", "cpu", "--jobs", str(workers)]
    command = [sys.executable, "-m", "deepseg_lite", *words]
    script = subprocess.run([*command, "--sbatch", "2"], capture_output=True, text=True, check=True)
    (asked,) = re.findall(r"--mem=(\d+)M", script.stdout)
    measured = subprocess.run(
        [sys.executable, "-c", PEAKS, *command], capture_output=True, text=True, check=True
    )
    assert 50 < int(measured.stdout) < int(asked), (measured.stdout, asked)


def test_a_queue_says_how_many_cores_there_are():
    assert sizing.cores({}) == available_threads()
    assert sizing.cores({"SLURM_CPUS_PER_TASK": "1"}) == 1
    assert sizing.cores({"NSLOTS": "1000"}) == available_threads()
    assert sizing.cores({"NCPUS": "undefined"}) == available_threads()


@pytest.mark.parametrize(
    ("files", "variables", "expected"),
    [
        ({}, {}, 4000),
        ({"memory.max": "max\n", "memory.current": "99\n"}, {}, 4000),
        (
            {"memory.max": f"{3000 * MIB}\n", "memory.current": f"{1000 * MIB}\n",
             "memory.stat": f"anon 1\ninactive_file {500 * MIB}\n"}, {}, 2500,
        ),
        (
            {"memory/memory.limit_in_bytes": f"{3000 * MIB}\n",
             "memory/memory.usage_in_bytes": f"{1000 * MIB}\n"}, {}, 2000,
        ),
        ({}, {"SLURM_MEM_PER_NODE": "1500"}, 1500),
        ({}, {"SLURM_MEM_PER_NODE": "0"}, 4000),
        ({}, {"SLURM_MEM_PER_CPU": "700", "SLURM_CPUS_PER_TASK": "1"}, 700),
    ],
)  # fmt: skip
def test_the_least_of_all_that_limits_memory(tmp_path, files, variables, expected):
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {4000 * 1024} kB\n")
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    (tmp_path / "own").write_text("0::/\n")
    groups = Groups(tmp_path / "cgroup", tmp_path / "own")
    assert sizing.free_memory(variables, groups, tmp_path / "meminfo") == expected * MIB
    assert sizing.free_memory({}, Groups(tmp_path, tmp_path), tmp_path / "none") is None
