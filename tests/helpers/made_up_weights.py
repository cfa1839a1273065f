"""Weights that are made up as an architecture asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.onnx_file import write_onnx
from deepseg_export.architectures.unets import direct_unet, read_plan
from deepseg_export.architectures.weights import Weights


class MadeUpWeights(Weights):
    """Arrays of any name and shape, the same ones for the same seed.

    Kernels keep the spread of what they are given, variances are positive, all else is around what
    a new network has.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__({}, "nowhere")
        self._rng = np.random.default_rng(seed)
        self._made: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: Sequence[int | None] | None = None) -> np.ndarray:
        """Return an array as float32."""
        if name not in self._made:
            sizes = [size or 1 for size in shape or ()]
            if name.endswith("running_var"):
                values = self._rng.uniform(0.5, 2, sizes)
            elif len(sizes) == 1:
                values = self._rng.standard_normal(sizes) * 0.3 + name.endswith("weight")
            else:
                values = self._rng.standard_normal(sizes) * np.sqrt(2 / np.prod(sizes[1:]))
            self._made[name] = values.astype(np.float32)
        return self._made[name]

    def take_one(
        self, names: Sequence[str], shape: Sequence[int | None] | None = None
    ) -> np.ndarray:
        """Return the array of the first name."""
        return self.take(names[0], shape)


def made_up_unet(plan: dict[str, Any], *, heads: int = 3, seed: int = 0) -> DirectNetwork:
    """Return the network that a plan describes."""
    name = plan["network_class_name"].rpartition(".")[2]
    return direct_unet(name, read_plan(name, plan["arch_kwargs"]), heads, MadeUpWeights(seed))


def write_network(
    path: Path, network: DirectNetwork, *, patch: Sequence[int], channels: int = 2, heads: int = 3
) -> Path:
    """Write a network as exports do."""
    file = write_onnx(network, (channels, *patch), (heads, *patch))
    with path.open("wb") as opened:
        opened.writelines(file.parts())
    return path


def rename_values(path: Path) -> None:
    """Give weights and results the names that graphs of forms give theirs: c0, c1, s0, s1."""
    import onnx

    model = onnx.load(path)
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    results = (name for node in model.graph.node for name in node.output if name not in ends)
    names = {name: f"s{number}" for number, name in enumerate(results)}
    for number, tensor in enumerate(model.graph.initializer):
        names[tensor.name] = f"c{number}"
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    del model.graph.value_info[:]
    onnx.save(model, path)
