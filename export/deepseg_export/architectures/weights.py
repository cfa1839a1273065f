"""Weights of a network by name: each is used, and of the shape that its layer needs."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from deepseg_export.errors import CheckpointError


class Weights:
    """Named arrays that an architecture asks for.

    Parameters
    ----------
    arrays : mapping of str to array
        The network's whole state, real numbers of any precision.
    where : str
        What the file is called in errors.
    what : str
        What the network is called in them.
    unused : iterable of str
        Names that inference has no use for, such as counters of training.

    Raises
    ------
    CheckpointError
        If one is no array of finite real numbers.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        where: str,
        what: str = "its network",
        *,
        unused: Iterable[str] = (),
    ) -> None:
        self._arrays = {str(name): array for name, array in arrays.items()}
        self._where, self._what = where, what
        self._used = set(unused)
        strange = (name for name, array in self._arrays.items() if not _is_real(array))
        self._refuse("weights are no real numbers", strange)
        seen = {_place(array): name for name, array in self._arrays.items()}
        broken = (name for name in seen.values() if not np.isfinite(self._arrays[name]).all())
        self._refuse("weights are not finite", broken)
        self.forget_pages()

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __iter__(self) -> Any:
        return iter(self._arrays)

    def take(self, name: str, shape: Sequence[int | None] | None = None) -> np.ndarray:
        """Return an array as float32, the same one for the same name.

        Parameters
        ----------
        name : str
            Its name in the state.
        shape : sequence of int or None
            The shape it must have; None is any size.

        Raises
        ------
        CheckpointError
            If there is none, or it has another shape.
        """
        if name not in self._arrays:
            raise CheckpointError(f"{self._mismatch()}: {name[:80]} is missing.")
        array: np.ndarray = self._arrays[name]
        if shape is not None and not _fits(array.shape, shape):
            wanted = " x ".join("any" if size is None else str(size) for size in shape)
            raise CheckpointError(
                f"{self._mismatch()}: {name[:80]} has shape {tuple(array.shape)}, "
                f"{wanted} is needed."
            )
        if array.dtype != np.float32:
            array = self._arrays[name] = array.astype(np.float32)
        self._used.add(name)
        return array

    def take_one(
        self, names: Sequence[str], shape: Sequence[int | None] | None = None
    ) -> np.ndarray:
        """Return an array that may be listed by several names, and then is the same everywhere.

        Raises
        ------
        CheckpointError
            If there is none, one has another shape, or two are not the same.
        """
        there = [name for name in names if name in self._arrays] or list(names[:1])
        first = self.take(there[0], shape)
        for name in there[1:]:
            other = self._arrays[name]
            is_same = _place(other) == _place(self._arrays[there[0]])
            if not is_same and not np.array_equal(first, other.astype(np.float32)):
                raise CheckpointError(
                    f"{self._where} has two different arrays for one layer: {there[0][:80]} and "
                    f"{name[:80]}."
                )
        self._used.update(there)
        return first

    def forget_pages(self) -> None:
        """Let go of the memory of arrays that are maps of a file; they are read again if needed."""
        owners = {id(owner): owner for owner in map(_owner, self._arrays.values())}
        for owner in owners.values():
            if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise"):  # not on Windows
                owner.madvise(mmap.MADV_DONTNEED)

    def leave(self, names: Iterable[str]) -> None:
        """Tell of arrays that inference has no use for."""
        self._used.update(names)

    def check_all_used(self) -> None:
        """Refuse a network with parts that would be left out.

        Raises
        ------
        CheckpointError
            Naming what no layer asked for.
        """
        self._refuse(
            f"{self._mismatch(short=True)}: no layer has", sorted(self._arrays.keys() - self._used)
        )

    def _refuse(self, problem: str, names: Iterable[str]) -> None:
        found = list(names)
        if found:
            more = f" and {len(found) - 2} more" if len(found) > 2 else ""
            listed = "; ".join(name[:80] for name in found[:2])
            raise CheckpointError(f"{self._where}: {problem}: {listed}{more}.")

    def _mismatch(self, *, short: bool = False) -> str:
        text = f"the weights are not those of {self._what}"
        return text if short else f"{self._where}: {text}"


def _fits(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(found) == len(wanted) and all(
        size is None or size == one for one, size in zip(found, wanted, strict=True)
    )


def _place(array: np.ndarray) -> tuple[Any, ...]:
    """Return what tells where the numbers of an array are; equal places have equal numbers."""
    return (array.ctypes.data, array.shape, array.strides, array.dtype)


def _owner(array: Any) -> Any:
    """Return what the numbers of an array lie in."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


def _is_real(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
