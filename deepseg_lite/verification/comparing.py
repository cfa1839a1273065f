"""Receipts of two machines side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from deepseg_lite.errors import BundleError
from deepseg_lite.store.receipts import Receipt


class Row(NamedTuple):
    """One fact on both machines, in words, and whether it is the same on both.

    Of a result the number of voxels that differ from the original's is told, and it is the same
    where all voxels are.
    """

    fact: str
    there: str
    here: str
    is_same: bool
    is_result: bool = False


def compare(there: Receipt, here: Receipt) -> list[Row]:
    """Return what two receipts of a bundle say: machine, software, and every reference.

    Raises
    ------
    BundleError
        If they are of different bundles.
    """
    one, other = there["bundle"], here["bundle"]
    if one["manifest_sha256"] != other["manifest_sha256"]:
        raise BundleError(
            f"the receipt is of {one['name']} {one['version']} (manifest "
            f"{one['manifest_sha256'][:12]}...), and here is {other['name']} {other['version']} "
            f"({other['manifest_sha256'][:12]}...); receipts of one bundle are needed."
        )
    return list(_rows(there, here))


def _rows(there: Receipt, here: Receipt) -> Iterator[Row]:
    facts = (_facts(there), _facts(here))
    for fact in dict.fromkeys((*facts[0], *facts[1])):
        one, other = (str(each.get(fact, "none")) for each in facts)
        yield Row(fact, one, other, one == other)
    cases = [{row["name"]: row for row in each["references"]} for each in (there, here)]
    for name in cases[1]:  # of one bundle, so they are in both
        one, other = cases[0][name], cases[1][name]
        is_same = one["result_sha256"] == other["result_sha256"]
        yield Row(name, _count(one), _count(other), is_same, is_result=True)


def _count(row: Mapping[str, Any]) -> str:
    return f"{row['differing']:,} of {row['voxels']:,} differ"


def _facts(receipt: Receipt) -> dict[str, Any]:
    machine, engine = receipt["machine"], receipt["engine"]
    return {
        "date": receipt["date"],
        "processor": machine["cpu"],
        "system": machine["system"],
        "GPUs": ", ".join(machine["gpus"]) or "none",
        "device": engine["device"],
        "precision": engine["precision"],
        "form": engine.get("form", "not said"),
        "threads": engine["threads"],
        **engine["packages"],
        **receipt["versions"],
    }
