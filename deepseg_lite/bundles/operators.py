"""Operators of networks: what a graph may hold, told without the onnx package.

A bundle may come from anybody, and an engine runs whatever a graph says: endless loops, constants
of any size, files beside the network. So a network is looked at before it is opened: operators that
compute, from the list below; no control flow, no functions, no data in other files but the one that
was checked for it, no constant that is larger than its bytes.

Source: ``onnx.proto`` (field numbers), the operators of opset 9 to 23 that networks for images use.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deepseg_lite.bundles.onnx_metadata import fields, read_varint
from deepseg_lite.errors import BundleError
from deepseg_lite.text import shortened

_ALLOWED = """
Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant
ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Dropout Einsum
Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish
Identity InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
LpNormalization MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonZero
Not Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear Range Reciprocal ReduceL1 ReduceL2
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round
ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign
SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze
Upsample Where Xor
"""
ALLOWED = frozenset(_ALLOWED.split())
GROWING = frozenset(("ConstantOfShape", "Expand", "Pad", "Range", "Resize", "Tile", "Upsample"))
"""Those whose result can be far larger than what they are given."""
MAX_NODES = 50_000
MAX_ELEMENTS = 2**28
"""Of what a growing operator makes of a constant."""
_INT64, _INT32, _FLOAT = 7, 6, 1
_WIDTHS = {_INT64: 8, _INT32: 4, _FLOAT: 4}


def check_graph(path: Path, weights: Path | None = None) -> None:
    """Refuse a file that is no network, or one that does more than compute.

    Parameters
    ----------
    path : Path
        The file.
    weights : Path, optional
        File beside it that its weights may be in.

    Raises
    ------
    BundleError
        Which operator, or what else it has.
    """
    try:
        elsewhere = None if weights is None else Elsewhere(weights.name, weights.stat().st_size)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            view = memoryview(data)
            try:
                problem = _problem(view, elsewhere)
            finally:
                view.release()
    except (OSError, ValueError, BufferError) as error:
        problem = f"is not a readable ONNX network ({error})"
    if problem:
        raise BundleError(f"{path} {problem}. Get the bundle again, from somebody you trust.")


class Elsewhere(NamedTuple):
    """The file that weights may be in: its name and its bytes."""

    name: str
    size: int

    def has(self, entries: Sequence[Any], length: int) -> bool:
        """Return whether external data of so many bytes is in it."""
        facts = {}
        for entry in entries:
            pair = dict(fields(entry))
            facts[bytes(pair.get(1, b""))] = bytes(pair.get(2, b"")).decode(errors="replace")
        numbers = [facts.get(key, "") for key in (b"offset", b"length")]
        if facts.get(b"location") != self.name or not all(map(str.isdecimal, numbers)):
            return False
        offset, given = map(int, numbers)
        return given == length and offset + length <= self.size


def _problem(model: memoryview, elsewhere: Elsewhere | None) -> str | None:
    graphs, count = [], 0
    for number, value in fields(model):
        if number == 25:
            return "has functions of its own, which no network of ours has"
        if number == 7:
            graphs.append(value)
    if len(graphs) != 1 or isinstance(graphs[0], int):
        return "is not a readable ONNX network (it has no graph)"
    constants: dict[bytes, list[float]] = {}
    growing: list[tuple[str, list[bytes]]] = []
    for number, value in fields(graphs[0]):
        if number == 1:
            count += 1
            problem = _check_node(value, constants, growing)
        elif number == 5:
            problem = _check_tensor(value, constants, elsewhere=elsewhere)
        else:
            problem = "has sparse constants, which no network of ours has" if number == 15 else None
        if problem or count > MAX_NODES:
            return problem or f"has more than {MAX_NODES} operators"
    for operator, names in growing:
        sizes = [size for name in names for size in constants.get(name, ())]
        if math.prod(max(1.0, abs(size)) for size in sizes) > MAX_ELEMENTS:
            return f"has an operator {operator} with a constant that would fill the memory"
    return None


def _check_node(
    node: Any, constants: dict[bytes, list[float]], growing: list[tuple[str, list[bytes]]]
) -> str | None:
    inputs, outputs, operator, domain = [], [], "", ""
    attributes = []
    for number, value in fields(node):
        if number == 1:
            inputs.append(bytes(value))
        elif number == 2:
            outputs.append(bytes(value))
        elif number == 4:
            operator = bytes(value[:60]).decode(errors="replace")
        elif number == 5:
            attributes.append(value)
        elif number == 7:
            domain = bytes(value[:60]).decode(errors="replace")
    if domain not in ("", "ai.onnx") or operator not in ALLOWED:
        name = f"{domain}.{operator}" if domain else operator
        return f"has an operator {shortened(ascii(name), 60)}, which is not one that only computes"
    if operator in GROWING:
        growing.append((operator, inputs))
    for attribute in attributes:
        for number, value in fields(attribute):
            if number in (6, 11):
                return f"has a graph within its operator {operator}"
            if number in (5, 10) and (
                problem := _check_tensor(value, constants, outputs[0] if outputs else b"")
            ):
                return problem
    return None


def _check_tensor(
    tensor: Any,
    constants: dict[bytes, list[float]],
    name: bytes = b"",
    elsewhere: Elsewhere | None = None,
) -> str | None:
    """Check a constant, and keep the numbers of small ones: they may be sizes."""
    dims, kind, raw, is_elsewhere = [], 0, None, False
    entries: list[Any] = []
    typed: list[float] = []
    for number, value in fields(tensor):
        if number == 1:
            dims += _packed(value)
        elif number == 2:
            kind = value
        elif number == 7:
            typed += _packed(value) if len(typed) < 64 else []
        elif number == 8:
            name = name or bytes(value)
        elif number == 9:
            raw = value
        elif number == 13:
            entries.append(value)
        elif number == 14:
            is_elsewhere = bool(value)
    elements = math.prod(dims)
    if elsewhere is not None and is_elsewhere and kind == _FLOAT and min(dims, default=0) > 0:
        is_there = elsewhere.has(entries, elements * _WIDTHS[_FLOAT])
        return None if is_there else f"has weights that are not in {elsewhere.name}"
    if entries or is_elsewhere:
        return "keeps weights in another file, which nothing proves to be the right one"
    if elements > 2 * len(tensor) or min(dims, default=0) < 0:
        return f"has a constant of {elements} numbers in {len(tensor)} bytes"
    if elements <= 16 and kind in _WIDTHS:
        constants[name] = _numbers(raw, kind) if raw is not None else typed
    return None


def _numbers(raw: Any, kind: int) -> list[float]:
    count = len(raw) // _WIDTHS[kind]
    code = {_INT64: "q", _INT32: "i", _FLOAT: "f"}[kind]
    return list(struct.unpack(f"<{count}{code}", raw[: count * _WIDTHS[kind]]))


def _packed(value: Any) -> list[int]:
    """Return one number, or those of a packed field, as signed."""
    if isinstance(value, int):
        return [value - (1 << 64) if value >> 63 else value]
    return [number for packed in _varints(value) for number in _packed(packed)]


def _varints(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        number, position = read_varint(data, position)
        yield number
