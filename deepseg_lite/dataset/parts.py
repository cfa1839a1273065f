"""Parts: the share of a data set that one of several runs does, on as many machines."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deepseg_lite.dataset.job import Job, in_order
from deepseg_lite.errors import OptionError

AUTO = "auto"


@dataclass(frozen=True)
class Part:
    """One of several shares, the first of which is 1."""

    number: int
    count: int

    def of(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs of this share.

        Cases are sorted by the first id of their jobs and dealt out in turn, whether they are done
        or not. So the share stays the same when the run is repeated. Jobs of the same images stay
        together.
        """
        cases: list[list[Job]] = []
        for job in in_order(sorted(jobs, key=lambda job: job.id)):
            if not cases or cases[-1][0].images != job.images:
                cases.append([])
            cases[-1].append(job)
        return [job for case in cases[self.number - 1 :: self.count] for job in case]


def parse_part(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """Return the part that a text names: ``3/8``, ``auto``, or ``auto/8``.

    ``auto`` asks the variables of a job array. PBS does not tell how many jobs an array has, so
    ``auto/8`` does.

    Raises
    ------
    OptionError
        If it is none, or the variables do not say.
    """
    if match := re.fullmatch(r"(\d+)/(\d+)", text):
        part = Part(int(match[1]), int(match[2]))
        if not 1 <= part.number <= part.count:
            raise OptionError(f"part={text} is none; the first of 8 is 1/8, the last 8/8.")
        return part
    if match := re.fullmatch(r"auto(?:/([1-9]\d*))?", text):
        return _part_of_array(int(match[1]) if match[1] else None, environment)
    raise OptionError(f"part={text} is none; give 3/8, or auto in a job array (PBS: auto/8).")


def _part_of_array(count: int | None, environment: Mapping[str, str]) -> Part:
    """Return the part of a job of an array, whose first index may be 0, 1 or another."""

    def number(name: str, default: int | None = None) -> int | None:
        value = environment.get(name, "")
        return int(value) if value.isdigit() else default

    for index, first, last, step in _ARRAYS:
        at = number(index)
        if at is None or (index == "LSB_JOBINDEX" and at == 0):  # LSF: no array
            continue
        if count is not None:
            return Part(at % count + 1, count)  # right for 0 to 7 and for 1 to 8
        start, end, stride = number(first, 1), number(last), number(step, 1)
        assert start is not None
        if end is None or not stride:
            raise OptionError(
                f"{index} is {at}, and nothing says of how many jobs; give `part=auto/N`."
            )
        found = Part((at - start) // stride + 1, (end - start) // stride + 1)
        listed = number("SLURM_ARRAY_TASK_COUNT", found.count)
        if index.startswith("SLURM") and listed != found.count:
            raise OptionError(
                f"the array has {listed} jobs with gaps between {start} and {end}; use a whole "
                "range such as 1-8, or give `part=auto/N` with the N of the first run."
            )
        return found
    names = ", ".join(index for index, *_ in _ARRAYS)
    raise OptionError(f"this is no job of an array ({names} are not set); give `part=3/8`.")


_ARRAYS = (
    (
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_MAX",
        "SLURM_ARRAY_TASK_STEP",
    ),
    ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
    ("LSB_JOBINDEX", "", "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"),
    ("PBS_ARRAY_INDEX", "", "", ""),
    ("PBS_ARRAYID", "", "", ""),
)
"""Variables of each queue: the job's index, the first, the last, and the step between."""


def sbatch_script(command: Sequence[str], parts: int, *, memory: int, cpus: int) -> str:
    """Return the script of a SLURM job array.

    Parameters
    ----------
    command : sequence of str
        The command line without its part.
    parts : int
        Jobs of the array.
    memory : int
        Bytes of one job.
    cpus : int
        CPUs of one job.
    """
    return f"""#!/bin/bash
#SBATCH --job-name=deepseg-lite
#SBATCH --array=1-{parts}
#SBATCH --cpus-per-task={cpus}
#SBATCH --mem={-(-memory // _MIB)}M
#SBATCH --time=12:00:00
{shlex.join([*command, "--part", AUTO])}
"""


_MIB = 2**20
