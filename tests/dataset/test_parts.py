"""Shares of a data set: all of it, each once, the same again; job arrays of four queues."""

from __future__ import annotations

import shlex

import pytest

from deepseg_lite.dataset.job import Job
from deepseg_lite.dataset.parts import Part, parse_part, sbatch_script
from deepseg_lite.errors import OptionError


def job(case: int, task: str) -> Job:
    return Job(f"sub-{case:03} {task}", task, (f"{case}.nii.gz",), (f"{case}_{task}.nii.gz",))


JOBS = [job(case, task) for task in ("a", "b") for case in (9, 3, 4, 0, 7, 1, 8, 2, 6, 5)]


@pytest.mark.parametrize("count", [1, 3, 10, 14])
def test_parts_are_all_jobs_each_once_whatever_their_order(count):
    parts = [Part(number, count).of(JOBS) for number in range(1, count + 1)]
    assert sorted(j.id for part in parts for j in part) == sorted(j.id for j in JOBS)
    again = [Part(number, count).of(reversed(JOBS)) for number in range(1, count + 1)]
    assert [[j.id for j in part] for part in parts] == [[j.id for j in part] for part in again]
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 2
    for part in parts:  # tasks of an image stay together, and share its reading
        assert [j.keeps_images for j in part] == [True, False] * (len(part) // 2)


SLURM = {
    "SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_MAX": "10",
    "SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_COUNT": "5",
}  # fmt: skip
SGE = {
    "SGE_TASK_ID": "3", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "8", "SGE_TASK_STEPSIZE": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("3/8", {}, (3, 8)),
        ("auto", SLURM, (3, 5)),
        ("auto", SGE, (3, 8)),
        ("auto", {"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "8"}, (3, 8)),
        ("auto/8", {"PBS_ARRAY_INDEX": "0"}, (1, 8)),
        ("auto/8", {"PBS_ARRAY_INDEX": "8"}, (1, 8)),
        ("auto/8", {"PBS_ARRAYID": "7"}, (8, 8)),
        ("auto/8", SLURM, (7, 8)),
    ],
)
def test_parts_of_job_arrays(text, variables, expected):
    assert parse_part(text, variables) == Part(*expected)


@pytest.mark.parametrize(
    ("text", "variables", "words"),
    [
        ("0/8", {}, "the first of 8 is 1/8"),
        ("9/8", {}, "the last 8/8"),
        ("1/0", {}, "is none"),
        ("eight", {}, "give 3/8"),
        ("auto/0", {}, "give 3/8"),
        ("auto", {}, "no job of an array"),
        ("auto", {"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0"}, "no job of an array"),
        ("auto", {"PBS_ARRAY_INDEX": "3"}, "auto/N"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_COUNT": "3"}, "gaps"),
    ],
)
def test_what_is_no_part_is_refused(text, variables, words):
    with pytest.raises(OptionError, match=words) as caught:
        parse_part(text, variables)
    assert len(str(caught.value)) < 300


def test_the_script_runs_the_command_as_an_array(tmp_path):
    command = ["deepseg-lite", "batch", "my data", "out", "--task", "sc_gm_t2star"]
    script = sbatch_script(command, 12, memory=3 * 2**30 + 1, cpus=4)
    first, *options, last = script.splitlines()
    assert first == "#!/bin/bash"
    assert shlex.split(last) == [*command, "--part", "auto"]
    assert {"#SBATCH --array=1-12", "#SBATCH --mem=3073M", "#SBATCH --cpus-per-task=4"} <= set(
        options
    )
