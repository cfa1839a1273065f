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
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from deepseg_lite.bundles.onnx_metadata import content, fields, read_pair, read_varint
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
"""Of operators, and of constants whose numbers are kept."""
_FEW = 16
"""Of inputs, of axes and of the numbers of a constant: no size of a result takes more."""
MAX_ELEMENTS = 2**28
"""Of what a growing operator makes of a constant."""
_FLOAT, _FLOAT_BYTES = 1, 4
_CODES = {7: "q", 6: "i", _FLOAT: "f", 11: "d"}
"""Of ``struct``, for the types of numbers that are kept: int64, int32, float, double."""
_TYPED = {4: "f", 10: "d"}
"""The same for fields of numbers that are not kept raw; 5 and 7 are integers."""


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
            except ValueError as error:  # here, since its traceback keeps parts of the file open
                problem = f"is not a readable ONNX network ({error})"
            finally:
                view.release()
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        problem = f"is not a readable ONNX network ({error})"
    if problem:
        raise BundleError(f"{path} {problem}. Get the bundle again, from somebody you trust.")


class Elsewhere(NamedTuple):
    """The file that weights may be in: its name and its bytes."""

    name: str
    size: int

    def has(self, entries: Sequence[Any], length: int) -> bool:
        """Return whether external data of so many bytes is in it."""
        pairs = map(read_pair, entries)
        facts = {key: value.decode(errors="replace") for key, value in pairs}
        numbers = [facts.get(key, "") for key in (b"offset", b"length")]
        if facts.get(b"location") != self.name or not all(map(str.isdecimal, numbers)):
            return False
        offset, given = map(int, numbers)
        return given == length and offset + length <= self.size


def _problem(model: memoryview, elsewhere: Elsewhere | None) -> str | None:
    graph, count = None, 0
    for number, value in fields(model):
        if number == 25:
            return "has functions of its own, which no network of ours has"
        if number == 7:
            if graph is not None:
                return "is not a readable ONNX network (it has several graphs)"
            graph = value
    if graph is None:
        return "is not a readable ONNX network (it has no graph)"
    constants: dict[bytes, list[float]] = {}
    growing: list[tuple[str, list[bytes]]] = []
    for number, value in fields(graph):
        if number == 1:
            count += 1
            problem = _check_node(value, constants, growing)
        elif number == 5:
            problem = _check_tensor(value, constants, elsewhere=elsewhere)
        else:
            problem = "has sparse constants, which no network of ours has" if number == 15 else None
        if problem or max(count, len(constants)) > MAX_NODES:
            return problem or f"has more than {MAX_NODES} operators or small constants"
    for operator, names in growing:
        sizes = [size for name in names for size in constants.get(name, ())]
        if math.prod(max(1.0, abs(size)) for size in sizes) > MAX_ELEMENTS:
            return f"has an operator {operator} with a constant that would fill the memory"
    return None


def _check_node(
    node: Any, constants: dict[bytes, list[float]], growing: list[tuple[str, list[bytes]]]
) -> str | None:
    inputs: list[bytes] = []
    output, operator, domain = b"", "", ""
    for number, value in fields(node):
        if number == 1 and len(inputs) < _FEW:
            inputs.append(content(value))
        elif number == 2:
            output = output or content(value)
        elif number == 4:
            operator = content(value)[:60].decode(errors="replace")
        elif number == 7:
            domain = content(value)[:60].decode(errors="replace")
    if domain not in ("", "ai.onnx") or operator not in ALLOWED:
        name = f"{domain}.{operator}" if domain else operator
        return f"has an operator {shortened(ascii(name), 60)}, which is not one that only computes"
    if operator in GROWING:
        growing.append((operator, inputs))
    attributes = (value for number, value in fields(node) if number == 5)
    for number, value in chain.from_iterable(map(fields, attributes)):
        if number in (6, 11):
            return f"has a graph within its operator {operator}"
        if number in (22, 23):
            return "has sparse constants, which no network of ours has"
        if number in (5, 10) and (problem := _check_tensor(value, constants, output)):
            return problem
    return None


def _check_tensor(
    tensor: Any,
    constants: dict[bytes, list[float]],
    name: bytes = b"",
    elsewhere: Elsewhere | None = None,
) -> str | None:
    """Check a constant, and keep the numbers of small ones: they may be sizes."""
    dims: list[int] = []
    typed: list[float] = []
    entries: list[Any] = []
    kind, raw, is_elsewhere = 0, None, False
    for number, value in fields(tensor):
        if number == 1:
            dims += _packed(value)
        elif number == 2:
            kind = value
        elif number in (4, 5, 7, 10) and len(typed) < _FEW:
            typed += _numbers(value, _TYPED[number]) if number in _TYPED else _packed(value)
        elif number == 8:
            name = name or content(value)
        elif number == 9:
            raw = value
        elif number == 13:
            entries.append(value)
        elif number == 14:
            is_elsewhere = bool(value)
        if max(len(dims), len(entries)) > _FEW:
            return f"has a constant of more than {_FEW} axes, or places of its data"
    elements = math.prod(dims)
    if elsewhere is not None and is_elsewhere and kind == _FLOAT and min(dims, default=0) > 0:
        is_there = elsewhere.has(entries, elements * _FLOAT_BYTES)
        return None if is_there else f"has weights that are not in {elsewhere.name}"
    if entries or is_elsewhere:
        return "keeps weights in another file, which nothing proves to be the right one"
    if elements > 2 * len(tensor) or min(dims, default=0) < 0:
        numbers = shortened(str(elements), 30)
        return f"has a constant of {numbers} numbers in {len(tensor)} bytes"
    if elements <= _FEW and kind in _CODES:
        constants[name] = typed if raw is None else _numbers(raw, _CODES[kind])
    return None


def _numbers(raw: Any, code: str) -> list[float]:
    """Return the first numbers of a constant."""
    data = content(raw if isinstance(raw, int) else raw[: 8 * _FEW])
    count = min(len(data) // struct.calcsize(f"<{code}"), _FEW)
    return list(struct.unpack_from(f"<{count}{code}", data))


def _packed(value: Any) -> list[int]:
    """Return one number, or the first of those of a packed field, as signed."""
    numbers = [value] if isinstance(value, int) else islice(_varints(value), _FEW + 1)
    return [number - (1 << 64) if number >> 63 else number for number in numbers]


def _varints(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        number, position = read_varint(data, position)
        yield number
