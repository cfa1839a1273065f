"""The shipped model as nnU-Net keeps models, made of its bundle.

    python checkpoint.py FOLDER [--bundle ../bundle]

Writes ``FOLDER/nnUNetTrainer__nnUNetPlans__2d``. The weights are those of the bundle's float32
network, whose parameters kept the names that torch gave them. The outputs of lower resolution,
which training alone looks at, are not in it and become zeros. Needs torch and onnx.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import onnx
import torch
from train import HERE, build_network, write_model

UNUSED = "decoder.seg_layers."


def main() -> None:
    """Write the folder and print its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path, default=HERE.parent / "bundle")
    arguments = parser.parse_args()
    manifest = json.loads((arguments.bundle / "manifest.json").read_text(encoding="utf-8"))
    (network,) = manifest["networks"]
    state = read_state(arguments.bundle / network["path"])
    write_model(state, arguments.folder / "nnUNetTrainer__nnUNetPlans__2d")


def read_state(file: Path) -> dict[str, torch.Tensor]:
    """Return the state of nnU-Net's network with the weights of an ONNX file.

    A parameter has several names in it, all of one storage; the ONNX file has one of them.
    """
    found = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(file).graph.initializer
    }
    network = build_network()
    names = defaultdict(list)
    for name, value in network.state_dict().items():
        names[value.data_ptr()].append(name)
    state = {}
    for same in names.values():
        known = [found.pop(name) for name in same if name in found]
        if not known and not same[0].startswith(UNUSED):
            raise SystemExit(f"{file} has no weights called {' or '.join(same)}.")
        for name in same:
            state[name] = known[0] if known else torch.zeros_like(network.state_dict()[name])
    network.load_state_dict(state)
    return state


if __name__ == "__main__":
    main()
