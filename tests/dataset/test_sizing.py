"""Processes for a machine: cores, memory and cases are limits, queues may set lower ones."""

from __future__ import annotations

import pytest
from helpers.bundles import write_bundle
from helpers.jobs import make_images, make_job

from deepseg_lite.dataset import sizing
from deepseg_lite.dataset.cgroups import Groups
from deepseg_lite.machine import available_threads

MIB = 2**20


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
