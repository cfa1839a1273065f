"""State: whether a case is done, by its record and the hashes of its files, and nothing else.

The record beside the results is the only trace of a case that is done; that of one that failed is
in the folder of logs. There are no timestamps and no locks, so that any number of runs, on any
number of machines, may look and write at the same time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from deepseg_lite.api.record import now
from deepseg_lite.atomic import make_folder, write_files
from deepseg_lite.dataset.job import Job, Outcome
from deepseg_lite.dataset.keys import hash_files
from deepseg_lite.errors import DeepsegError, ImageError, OptionError
from deepseg_lite.nifti.names import stem
from deepseg_lite.text import shown

RECORD_BYTES = 1 << 20
"""Longer files are no records."""
MANUAL = "Manual"
"""Field of the record: masks by hand that quality control looked at in place of results."""
Standing = Literal["open", "outdated", "done"]


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record of a case; None where a file is none, or there is none."""
    try:
        if path.stat().st_size > RECORD_BYTES:
            return None
        record = json.loads(path.read_bytes())
        is_ours = "Case" in record and "Key" in record
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return record if isinstance(record, dict) and is_ours else None


def record_of(job: Job) -> dict[str, Any] | None:
    """Return the record beside the results of a job, if it is there."""
    first = Path(job.outputs[0])
    return read_record(first.with_name(f"{stem(first)}.json"))


def look(job: Job, key: str) -> Standing:
    """Return whether the results of a job are there.

    Parameters
    ----------
    job : Job
        The job.
    key : str
        From `deepseg_lite.dataset.keys.case_key`.

    Returns
    -------
    standing : {"open", "outdated", "done"}
        Open where there is no record; done where it has this key, all files have its hashes, and
        quality control, where it is wanted, looked at the masks by hand that there are; outdated
        where the files that are there have its hashes, so that they may be replaced.

    Raises
    ------
    OptionError
        If a file is the result of another task or case, or was changed by somebody else since it
        was written: it is not to be lost.
    """
    record = record_of(job)
    if record is None:
        return "open"
    for name in ("Task", "Case"):
        wanted = job.fields.get(name)
        if wanted is not None and record.get(name) != wanted:
            raise OptionError(
                f"{shown(job.outputs[0])} is a result of {shown(record.get(name))}, and is not "
                f"replaced by one of {shown(wanted)}; give another folder for results."
            )
    hashes = record.get("SHA256")
    outputs = [Path(name) for name in job.images_written]
    if not isinstance(hashes, Mapping):
        return "open"
    missing = [path for path in outputs if not os.path.lexists(path)]
    for path in outputs:
        if path not in missing and not _has_hash(path, hashes.get(path.name)):
            raise OptionError(
                f"{path} was changed after it was written; keep it by leaving its case out, or "
                "add `overwrite`."
            )
    is_judged = not job.manual or record.get(MANUAL) == manual_hashes(job)
    return "done" if record["Key"] == key and not missing and is_judged else "outdated"


def manual_hashes(job: Job) -> dict[str, str]:
    """Return the SHA-256 of the masks by hand of a job, by the name of the output.

    Raises
    ------
    ImageError
        If one cannot be read.
    """
    return {Path(name).name: hash_files(Path(mask)) for name, mask in job.manual.items()}


def _has_hash(path: Path, expected: object) -> bool:
    try:
        return hash_files(path) == expected
    except ImageError:
        return False


def failure_path(job: Job) -> Path | None:
    """Return where the record of a job that failed goes: beside its log."""
    return None if job.log is None else Path(f"{job.log.removesuffix('.log')}.json")


def failure_of(job: Job) -> dict[str, Any] | None:
    """Return the record of a job that failed, if it did and was not done since."""
    path = failure_path(job)
    return None if path is None else read_record(path)


def keep_failure(job: Job, outcome: Outcome, key: str | None) -> dict[str, Any]:
    """Write the record of a job that failed, and return it.

    Where it cannot be written the case is open: nothing else is lost.
    """
    record = {
        "GeneratedBy": [{"Name": "deepseg-lite", "Date": now()}],
        **job.fields,
        "Key": key,
        "Images": list(job.images),
        "Error": outcome.error,
        "Kind": outcome.kind,
        "Signal": outcome.signal,
        "Attempts": outcome.attempts,
        "Warnings": list(outcome.warnings),
        "Seconds": {"all": outcome.seconds},
    }
    path = failure_path(job)
    if path is not None:
        with suppress(DeepsegError):
            make_folder(path.parent)
            text = json.dumps(record, indent=2) + "\n"
            write_files({path: text.encode()}, overwrite=True, synced=False)
    return record


def forget_failure(job: Job) -> None:
    """Remove the record of a failure: the job is done by now."""
    path = failure_path(job)
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
