"""A network computed in float64, node by node: what float32 is compared with."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deepseg_export.errors import VerificationError
from deepseg_lite.errors import reason

_FLOAT, _DOUBLE = 1, 11  # of onnx.TensorProto


def in_float64(model: Any, array: Callable[[str], np.ndarray], batch: np.ndarray) -> np.ndarray:
    """Return what a network gives, computed in float64.

    Convolutions and pooling are computed here, as those of ``onnx.reference`` take minutes; all
    else is computed by it. Values go when the last node has taken them.

    Parameters
    ----------
    model : onnx.ModelProto
        The network; of its weights the names suffice.
    array : callable
        Gives a weight by its name.
    batch : array (N, C, *P)
        Input.

    Returns
    -------
    result : array
        The first output, float64.

    Raises
    ------
    VerificationError
        If a node is not known.
    """
    nodes = model.graph.node
    last = {name: index for index, node in enumerate(nodes) for name in node.input}
    values = {model.graph.input[0].name: _wide(batch)}
    for index, node in enumerate(nodes):
        given = {
            name: values[name] if name in values else _wide(array(name))
            for name in node.input
            if name
        }
        try:
            values.update(zip(node.output, _computed(node, given, model), strict=False))
        except Exception as error:  # the evaluator of onnx fails in its own ways
            raise VerificationError(
                f"{node.op_type} cannot be computed in float64 ({reason(error)})"
            ) from error
        for name in given:
            if last[name] == index:
                values.pop(name, None)
    return values[model.graph.output[0].name]


def correlated(
    maps: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    pads: Sequence[int],
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
) -> np.ndarray:
    """Return the cross-correlation of maps (N, C, *P) with a kernel (K, C / group, *kernel).

    ``pads`` are the zeros before the first voxel of each axis, then behind the last.
    """
    kernel = weight.shape[2:]
    results = []
    for part, own in _groups(maps, weight, group):
        places = np.ndindex(*kernel)
        windows = _windows(part, kernel, pads, strides, dilations)
        products = (
            np.tensordot(own[(..., *place)], seen, (1, 1))
            for place, seen in zip(places, windows, strict=True)
        )
        results.append(functools.reduce(operator.iadd, products).swapaxes(0, 1))
    return _biased(np.concatenate(results, axis=1), bias)


def _transposed(
    maps: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    group: int = 1,
) -> np.ndarray:
    """Return the transposed convolution of maps with a kernel (C, K / group, *kernel)."""
    axes, kernel, sizes = maps.ndim - 2, weight.shape[2:], maps.shape[2:]
    steps, gaps, more = strides or [1] * axes, dilations or [1] * axes, output_padding or [0] * axes
    whole = [
        (size - 1) * step + gap * (extent - 1) + 1 + added
        for size, step, gap, extent, added in zip(sizes, steps, gaps, kernel, more, strict=True)
    ]
    results = []
    for part, own in _groups(maps, weight, group):
        result = np.zeros((len(maps), weight.shape[1], *whole))
        for place in np.ndindex(*kernel):
            starts = [at * gap for at, gap in zip(place, gaps, strict=True)]
            made = np.tensordot(own[(..., *place)], part, (0, 1)).swapaxes(0, 1)
            result[_every(starts, steps, sizes)] += made
        results.append(result)
    ends = pads or [0] * 2 * axes
    kept: Any = (
        ...,
        *(slice(ends[axis], size - ends[axes + axis]) for axis, size in enumerate(whole)),
    )
    return _biased(np.concatenate(results, axis=1)[kept], bias)


def _largest(
    maps: np.ndarray,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
) -> np.ndarray:
    """Return the largest values of boxes."""
    return functools.reduce(
        np.maximum, _windows(maps, kernel_shape, pads, strides, dilations, -np.inf)
    )


def _mean(
    maps: np.ndarray,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    count_include_pad: int = 0,
) -> np.ndarray:
    """Return the means of boxes."""
    there = np.ones((1, 1, *maps.shape[2:]))
    counted = _windows(there, kernel_shape, pads, strides, None, float(count_include_pad))
    total = sum(_windows(maps, kernel_shape, pads, strides, None))
    return np.asarray(total / sum(counted))


_OWN: Mapping[str, Callable[..., np.ndarray]] = {
    "Conv": lambda maps, *rest, pads=None, **how: correlated(
        maps, *rest, pads=pads or [0] * 2 * (maps.ndim - 2), **how
    ),
    "ConvTranspose": _transposed,
    "MaxPool": _largest,
    "AveragePool": _mean,
}
_DEFAULTS = {"auto_pad": b"NOTSET", "ceil_mode": 0, "storage_order": 0}
"""Attributes that may be there if they say nothing."""


def _computed(node: Any, given: Mapping[str, np.ndarray], model: Any) -> Sequence[np.ndarray]:
    """Return what a node gives."""
    from onnx import helper

    if node.op_type not in _OWN or node.domain:
        return [_wide(value) for value in _by_onnx(node, given, model)]
    how = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    for name, nothing in _DEFAULTS.items():
        if how.pop(name, nothing) != nothing:
            raise ValueError(f"{name} is not known")
    if node.op_type.startswith("Conv"):
        how.pop("kernel_shape", None)
    return [_OWN[node.op_type](*(given[name] for name in node.input if name), **how)]


def _by_onnx(node: Any, given: Mapping[str, np.ndarray], model: Any) -> Sequence[Any]:
    import onnx
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    wide = onnx.NodeProto()
    wide.CopyFrom(node)
    for item in wide.attribute:
        if (node.op_type, item.name, item.i) == ("Cast", "to", _FLOAT):
            item.i = _DOUBLE
    ends = [
        [helper.make_empty_tensor_value_info(name) for name in names if name]
        for names in (given, node.output)
    ]
    graph = helper.make_graph([wide], "node", *ends)
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    results: Sequence[Any] = ReferenceEvaluator(alone).run(None, dict(given))
    return results


def _groups(
    maps: np.ndarray, weight: np.ndarray, group: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the maps and the weights of each group."""
    yield from zip(np.split(maps, group, axis=1), np.split(weight, group), strict=True)


def _windows(
    maps: np.ndarray,
    kernel: Sequence[int],
    pads: Sequence[int] | None,
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    fill: float = 0.0,
) -> Iterator[np.ndarray]:
    """Yield, for every place of a kernel, the voxels that it meets there."""
    axes = maps.ndim - 2
    ends, steps, gaps = pads or [0] * 2 * axes, strides or [1] * axes, dilations or [1] * axes
    widths = [(0, 0), (0, 0), *zip(ends[:axes], ends[axes:], strict=True)]
    wide = np.pad(maps, widths, constant_values=fill)
    sizes = [
        (size - gap * (extent - 1) - 1) // step + 1
        for size, gap, extent, step in zip(wide.shape[2:], gaps, kernel, steps, strict=True)
    ]
    for place in np.ndindex(*kernel):
        starts = [at * gap for at, gap in zip(place, gaps, strict=True)]
        yield wide[_every(starts, steps, sizes)]


def _every(starts: Sequence[int], steps: Sequence[int], sizes: Sequence[int]) -> Any:
    """Return the index of so many voxels of each axis, some steps apart."""
    axes = zip(starts, steps, sizes, strict=True)
    return (..., *(slice(first, first + step * (size - 1) + 1, step) for first, step, size in axes))


def _biased(maps: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    return maps if bias is None else maps + bias.reshape(-1, *(1 for _ in maps.shape[2:]))


def _wide(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype == np.float32 else array
