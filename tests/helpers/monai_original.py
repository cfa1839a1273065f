"""MONAI's own run of a bundle, and the networks of an exported one."""

from __future__ import annotations

import warnings

import numpy as np


def monai_segment(folder, images, *, until=None):
    """Run a bundle with MONAI's parser, transforms and inferer, as its evaluator does.

    ``until`` is the number of post-transforms to apply; all but the last, which saves, by default.
    """
    import torch
    from monai.bundle import ConfigParser

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        parser = ConfigParser()
        parser.read_config(folder / "configs" / "inference.json")
        before = parser.get_parsed_content("preprocessing")
        network = parser.get_parsed_content("network_def").eval()
        network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
        case = before({"image": [str(path) for path in images]})
        prepared = case["image"]
        case["pred"] = parser.get_parsed_content("inferer")(prepared[None], network)[0]
        for transform in parser.get_parsed_content("postprocessing").transforms[: until or -1]:
            case = transform(case)
        return prepared.numpy(), case["pred"].numpy()


def exported(checkpoint):
    """Return a checkpoint's network in ONNX Runtime; in torch where axes must stay free."""
    (network,) = checkpoint.networks.values()
    if None in checkpoint.manifest["sliding_window"]["patch_size"]:
        return as_predictor(network)
    from deepseg_export.network.conversion import to_onnx
    from onnxruntime import InferenceSession

    onnx = to_onnx(network, checkpoint.input_shape)
    session = InferenceSession(onnx, providers=["CPUExecutionProvider"])
    return lambda patches: session.run(None, {"image": np.ascontiguousarray(patches)})[0]


def as_predictor(network):
    """Return a torch network as a function of arrays."""
    import torch

    @torch.inference_mode()
    def run(patches):
        return network(torch.from_numpy(np.ascontiguousarray(patches))).numpy()

    return run
