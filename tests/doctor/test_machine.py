"""Threads and memory by the files in which Linux tells of them."""

from __future__ import annotations

import os

import pytest

from deepseg_lite.dataset.cgroups import Groups
from deepseg_lite.doctor import machine
from deepseg_lite.doctor.finding import NOTE, OK, PROBLEM

GIB = 2**30


def levels(findings):
    return {each.name: each.level for each in findings}


def groups(tmp_path, limit, used):
    """Return control groups of version 2 that allow so many bytes."""
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    return Groups(tmp_path, tmp_path / "absent")


@pytest.mark.parametrize(
    ("free", "level"), [(8 * GIB, OK), (GIB, NOTE), (GIB // 4, PROBLEM)], ids=str
)
def test_memory_of_a_control_group(tmp_path, free, level):
    found = list(machine.check_memory(groups(tmp_path, 9 * GIB, 9 * GIB - free)))
    (group,) = (each for each in found if each.name == "control group")
    assert group.level == level
    assert "allows " in group.text
    assert (group.cure is None) == (level == OK)


def test_a_group_without_a_limit_is_not_told(tmp_path):
    found = machine.check_memory(groups(tmp_path, "max", 5))
    assert "control group" not in levels(found)


@pytest.mark.parametrize(
    ("free_kib", "level"), [(9 * 2**20, OK), (2**20, NOTE), (2**17, PROBLEM)], ids=str
)
def test_free_memory_of_the_machine(tmp_path, free_kib, level):
    (tmp_path / "meminfo").write_text(f"MemTotal: 999 kB\nMemAvailable: {free_kib} kB\n")
    found = machine.check_memory(groups(tmp_path, "max", 5), tmp_path / "meminfo")
    assert levels(found)["memory"] == level


def test_where_nobody_tells_the_free_memory_nothing_is_wrong(tmp_path):
    found = machine.check_memory(groups(tmp_path, "max", 5), tmp_path / "absent")
    assert levels(found)["memory"] == OK


@pytest.mark.parametrize(
    ("limit", "level"), [(64 * GIB, OK), (GIB, NOTE), (GIB // 4, PROBLEM)], ids=str
)
def test_a_limit_of_addresses(limit, level):
    found = {each.name: each for each in machine.check_memory(own_limit=limit)}
    assert found["address space"].level == level
    assert level == OK or "ulimit -v unlimited" in found["address space"].cure


def test_the_limit_of_the_session_is_that_of_the_system():
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    expected = None if limit == resource.RLIM_INFINITY else limit
    assert machine._address_limit() == expected


def test_what_keeps_a_run_from_all_cpus_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text("200000 100000\n")
    (found,) = machine.check_threads({}, tmp_path)
    assert found.text.endswith("of 64 CPUs; the control group allows 2; the affinity mask has 8")


def test_more_threads_than_cpus_are_a_note(tmp_path):
    found = list(machine.check_threads({"OMP_NUM_THREADS": "100000"}, tmp_path))
    assert [each.level for each in found] == [OK, NOTE]
    assert "OMP_NUM_THREADS=100000" in found[1].text
    assert len(list(machine.check_threads({"OMP_NUM_THREADS": "1"}, tmp_path))) == 1


def test_instruction_sets_are_those_of_linux(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name : x\nflags\t\t: fpu avx2 sse avx512_vnni\n")
    found = {each.name: each.text for each in machine.check_hardware(tmp_path / "cpuinfo")}
    assert found["processor"].endswith("(avx2, avx512_vnni)")
    found = {each.name: each.text for each in machine.check_hardware(tmp_path / "absent")}
    assert "avx" not in found["processor"]
