"""Process that reads an HDF5 file: ``hdf5_process FILE RESULT``; what is wrong ends it in a line.

Links out of a group, virtual datasets, files beside the file and filters that are plug-ins are
refused before anything behind them is read.
"""

from __future__ import annotations

import io
import json
import math
import sys
from typing import Any

import numpy as np

MAX_LAYERS, MAX_ARRAYS, MAX_DEPTH = 2000, 16, 6
MAX_TEXT, MAX_NAME = 8 * 2**20, 256
MAX_ARRAY_BYTES, MAX_MEMORY = 2**30, 4 * 2**30


class RefusedError(Exception):
    """Something that is not read."""


def read(path: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return the index of a file, and its arrays in the index's order."""
    import h5py

    with h5py.File(path, "r") as file:
        group = _below(file, "model_weights") if "model_weights" in file else file
        names = _texts(group, "layer_names", MAX_LAYERS)
        layers: list[tuple[str, list[str]]] = []
        arrays: list[np.ndarray] = []
        left = MAX_ARRAY_BYTES
        for name in names:
            layer = _below(group, name)
            if not isinstance(layer, h5py.Group):
                raise RefusedError(f"{name} is no group")
            keys = []
            for weight in _texts(layer, "weight_names", MAX_ARRAYS):
                dataset = _below(layer, weight)
                left -= _checked_bytes(dataset, weight, left)
                keys.append(str(len(arrays)))
                arrays.append(np.asarray(dataset[()]).astype(np.float32))
            layers.append((name, keys))
        if len(dict(layers)) != len(layers):
            raise RefusedError("layer_names has a name twice")
        config = _text(file, "model_config") if "model_config" in file.attrs else None
    return {"layers": layers, "config": config}, arrays


def _below(group: Any, path: str) -> Any:
    """Return what a path in a group leads to, by hard links alone."""
    import h5py

    parts = path.split("/")
    if not 1 <= len(parts) <= MAX_DEPTH or any(part in ("", ".", "..") for part in parts):
        raise RefusedError(f"{path[:60]!r} is no name")
    for part in parts:
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            raise RefusedError(f"{path[:60]} is missing")
        if not isinstance(link, h5py.HardLink):
            raise RefusedError(f"{path[:60]} is a link to somewhere else")
        group = group[part]
    return group


def _checked_bytes(dataset: Any, name: str, left: int) -> int:
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        raise RefusedError(f"{name[:60]} is no array")
    plan = dataset.id.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise RefusedError(f"{name[:60]} is in another file")
    known = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
    if any(plan.get_filter(i)[0] not in known for i in range(plan.get_nfilters())):
        raise RefusedError(f"{name[:60]} is packed by a filter that is not read")
    if dataset.dtype.kind != "f" or dataset.shape is None or len(dataset.shape) > MAX_DEPTH:
        raise RefusedError(f"{name[:60]} is no array of real numbers")
    size = 8
    for length in dataset.shape:
        size *= int(length)
    if size > left:
        raise RefusedError(f"its arrays have more than the {MAX_ARRAY_BYTES} bytes that are read")
    return size


def _attribute(holder: Any, name: str) -> Any:
    if name not in holder.attrs:
        raise RefusedError(f"it is no file of Keras 2: {name} is missing")
    found = holder.attrs.get_id(name)
    if math.prod(found.shape) * found.dtype.itemsize > MAX_TEXT:
        raise RefusedError(f"{name} has more than the {MAX_TEXT} bytes that are read")
    return holder.attrs[name]


def _texts(holder: Any, name: str, most: int) -> list[str]:
    values = np.atleast_1d(np.asarray(_attribute(holder, name)))
    if values.size > most or values.ndim != 1:
        raise RefusedError(f"{name} has {values.size} entries; {most} are the most")
    if values.size == 0:
        return []
    return [_decoded(value, name) for value in values.tolist()]


def _text(holder: Any, name: str) -> str:
    value = _attribute(holder, name)
    text = value.decode("utf-8") if isinstance(value, bytes) else value
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise RefusedError(f"{name} is no text of at most {MAX_TEXT} bytes")
    return text


def _decoded(value: Any, name: str) -> str:
    text = value.decode("utf-8") if isinstance(value, bytes) else value
    if not isinstance(text, str) or len(text) > MAX_NAME or not text.isprintable():
        raise RefusedError(f"{name} has an entry that is no name")
    return text


def main() -> int:
    """Read, and write the result; the last line on stderr says what is wrong."""
    from deepseg_export.reading.limits import limited_memory

    try:
        with limited_memory(MAX_MEMORY):
            index, arrays = read(sys.argv[1])
        named = {str(number): array for number, array in enumerate(arrays)}
        text = np.frombuffer(json.dumps(index).encode(), np.uint8)
        packed = io.BytesIO()
        np.savez(packed, index=text, **named)  # type: ignore[arg-type]
        with open(sys.argv[2], "wb") as result:
            result.write(packed.getvalue())
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:  # h5py's have no common base
        print(f"{type(error).__name__}, {' '.join(str(error).split())[:100]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
