"""Places of weights in an ONNX file, so that another graph can read them from there."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepseg_lite.bundles.onnx_metadata import fields

_GRAPH, _INITIALIZER, _NAME, _RAW_DATA = 7, 5, 8, 9
"""Fields of ModelProto, GraphProto and TensorProto in ``onnx.proto``."""


class Place(NamedTuple):
    """Bytes of a file."""

    offset: int
    length: int


def weight_places(path: Path) -> dict[str, Place]:
    """Return where a network's file has the raw data of its initializers, by name."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        begin = _address(view)
        try:
            return {name: Place(_address(raw) - begin, len(raw)) for name, raw in _raw_data(view)}
        finally:
            view.release()


def _raw_data(model: memoryview) -> Iterator[tuple[str, Any]]:
    for number, graph in fields(model):
        if number != _GRAPH:
            continue
        for kind, tensor in fields(graph):
            if kind == _INITIALIZER:
                parts = dict(fields(tensor))
                if _RAW_DATA in parts and len(parts[_RAW_DATA]):
                    yield bytes(parts[_NAME]).decode(), parts[_RAW_DATA]


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view[:1], np.uint8).__array_interface__["data"][0])
