"""Numbers that the form in slices gives, against those of the canonical network."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from deepseg_export.errors import VerificationError
from deepseg_export.network.comparing import Exact, FormAgreement, check_form
from deepseg_export.network.conversion import INPUT
from deepseg_export.network.exact import correlated, in_float64
from deepseg_export.network.slices.convolutions import Convolution, convolve
from deepseg_export.network.slices.form import (
    Canonical,
    in_slices,
    modelled,
    of_patch,
    without_weights,
    written,
)
from deepseg_export.network.slices.graph import Graph
from deepseg_export.network.slices.maps import Chunk, Maps, Shape
from deepseg_export.network.slices.rewriting import Rewriting
from deepseg_export.network.slices.rule import TAPS, Way
from deepseg_export.network.verify import PRECISE, SEED, open_session, padded
from deepseg_lite.engines.slices import Slices

LEAST_SIZES = (32, 64, 64)
"""Slices, rows and columns of a patch on which a network is tried."""
MOST_OF_A_PATCH = 1 / 2
"""Share of a patch above which the whole is tried."""
_SIZES = (12, 8, 8)
"""Voxels of the maps that a layer is tried on: three tiles of four slices."""
_LEVELS = frozenset(("Conv", "ConvTranspose", "MaxPool", "AveragePool"))


def precise_ways(
    canonical: Canonical, rewriting: Rewriting, most: float = PRECISE
) -> dict[str, Way]:
    """Return the ways of layers for which the rule's first is not precise enough.

    Parameters
    ----------
    canonical : Canonical
        The network.
    rewriting : Rewriting
        Its form with the rule's first ways.
    most : float
        Largest error, as a share of a layer's largest output.
    """
    chosen = {}
    for name, (layer, ways) in rewriting.layers.items():
        if ways[0].tile < 2:
            continue
        weight = canonical.array(layer.weight)
        bias = None if layer.bias is None else canonical.array(layer.bias)
        way = next(way for way in ways if way == TAPS or layer_error(weight, bias, way) <= most)
        if way != ways[0]:
            chosen[name] = way
    return chosen


def layer_error(weight: np.ndarray, bias: np.ndarray | None, way: Way) -> float:
    """Return the largest error of a layer relative to its largest output.

    Parameters
    ----------
    weight : array (K, C, 3, *kernel)
        float32.
    bias : array (K), optional
        float32.
    way : Way
        How it is computed.

    Returns
    -------
    error : float
        The larger of two: on normal noise, and on noise in the middle of zeros. What is right is
        computed in float64.
    """
    count, channels, *kernel = weight.shape
    given = Shape(channels, *_SIZES)
    pads = [*((size - 1) // 2 for size in kernel), *(size // 2 for size in kernel)]
    one = (1, 1, 1)
    layer = Convolution("w", None if bias is None else "b", tuple(kernel), one, one, tuple(pads))
    graph = Graph()
    maps = Maps(given, [Chunk(0, given.depth, INPUT)])
    maps = convolve(graph, maps, layer, given._replace(channels=count), way)
    graph.constants |= {"w": weight} | ({} if bias is None else {"b": bias})
    run = Slices(open_session(modelled(graph, INPUT, given, maps).SerializeToString()))
    noise = np.random.default_rng(SEED).standard_normal((2, *given), dtype=np.float32)
    errors = []
    for item in (noise[:1], padded(noise[1:])):
        right = correlated(item.astype(float), weight, bias, pads=pads)
        errors.append(float(np.abs(run(item) - right).max() / np.abs(right).max()))
    return max(errors)


def check_on_small_patch(canonical: Canonical, rewriting: Rewriting) -> FormAgreement | None:
    """Compare a form with its canonical network on a smaller patch.

    The layers are computed in the same ways, in the same chunks of slices, with the same weights.
    A whole patch would take the memory and the time of a run.

    Parameters
    ----------
    canonical : Canonical
        The network; files are written beside its own, and deleted.
    rewriting : Rewriting
        Its form.

    Returns
    -------
    agreement : FormAgreement or None
        None where a smaller patch will not do: it is not much smaller, or the network refuses it.
    """
    whole = canonical.shapes[canonical.model.graph.input[0].name][2:]
    patch = small_patch(canonical)
    if math.prod(patch) > MOST_OF_A_PATCH * math.prod(whole):
        return None
    share = Fraction(patch[1] * patch[2], whole[1] * whole[2])
    ways = {
        name: rewriting.chosen.get(name, ways[0]) for name, (_, ways) in rewriting.layers.items()
    }
    try:
        small = of_patch(canonical, patch)
        contents = without_weights(small), written(small, in_slices(small, ways, share))
    except (ValueError, LookupError, TypeError):
        return None
    files = [canonical.path.with_name(f".{name}.check.onnx") for name in ("canonical", "slices")]
    try:
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        return check_form(files[0], files[1], exact=exactly(small))
    except VerificationError:  # the whole patch decides
        return None
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def exactly(canonical: Canonical) -> Exact:
    """Return a network in float64."""
    return lambda batch: in_float64(canonical.model, canonical.array, batch)


def small_patch(canonical: Canonical) -> tuple[int, int, int]:
    """Return the smallest patch from `LEAST_SIZES` on that has whole voxels at each level."""
    graph = canonical.model.graph
    whole = canonical.shapes[graph.input[0].name][2:]
    sizes = [canonical.shapes[node.output[0]][2:] for node in graph.node if node.op_type in _LEVELS]

    def smaller(axis: int) -> int:
        there = {size[axis] for size in sizes if len(size) == len(whole)}
        if any(not size or whole[axis] % size for size in there):
            return whole[axis]
        stride = math.lcm(*(whole[axis] // size for size in there))
        return min(whole[axis], -(-LEAST_SIZES[axis] // stride) * stride)

    return smaller(0), smaller(1), smaller(2)
