"""MONAI's own run of a bundle, and ours by the manifest that was made of it."""

from __future__ import annotations

import itertools
import warnings
from functools import partial

import numpy as np

from deepseg_lite import padding, scaling, score_maps
from deepseg_lite.geometry import to_frame
from deepseg_lite.score_maps import ACTIVATIONS
from deepseg_lite.spacing import respace
from deepseg_lite.windows import gaussian_importance, interval_starts, pad_to_patch, whole_axes

PREPROCESSING = {
    "reorient": partial(to_frame, axes="xyz"),
    "respace": respace,
    "pad_to_shape": padding.pad_to_shape,
    "pad_to_multiple": padding.pad_to_multiple,
    "pad_or_crop": padding.pad_or_crop,
    "crop_to_foreground": padding.crop_to_foreground,
    "scale_range": scaling.scale_range,
    "scale_to_range": scaling.scale_to_range,
    "multiply": scaling.multiply,
    "standardize": scaling.standardize,
    "threshold": scaling.threshold,
}
MAPS = {
    "argmax": score_maps.argmax,
    "one_hot": score_maps.one_hot,
    "binarize": score_maps.binarize,
    "limit": score_maps.limit,
    "keep_components": score_maps.keep_components,
}


def apply(table, step, value):
    return table[step["step"]](value, **{k: v for k, v in step.items() if k != "step"})


def prepare(manifest, volume):
    """Return the volume in front of the network and the records that undo its way there."""
    inputs = manifest["inputs"]
    volume, frame = to_frame(volume, inputs["orientation"], inputs["axes"])
    trail = [frame]
    for step in manifest["preprocessing"]:
        volume, record = apply(PREPROCESSING, step, volume)
        trail += [] if record is None else [record]
    return volume, trail


def predict(window, data, network):
    """Blend what a network, (N, C, *P) to (N, K, *P), gives for the patches of (C, X, Y, Z)."""
    patch = whole_axes(window["patch_size"], data.shape[1:])
    border = window["padding"]
    data, inside = pad_to_patch(data, patch, border["mode"], border["value"])
    weights = (
        gaussian_importance(patch, window["sigma_scale"])
        if window["importance_map"] == "gaussian"
        else np.ones(patch, np.float32)
    )
    axes = zip(data.shape[1:], patch, window["overlap"], strict=True)
    total, count = 0, np.zeros(data.shape[1:], np.float32)
    for corner in itertools.product(*(interval_starts(*axis) for axis in axes)):
        box = tuple(slice(a, a + n) for a, n in zip(corner, patch, strict=True))
        logits = network(data[(slice(None), *box)][None])[0]
        if isinstance(total, int):
            total = np.zeros((len(logits), *data.shape[1:]), np.float32)
        total[(slice(None), *box)] += logits * weights
        count[box] += weights
    return (total / count)[(slice(None), *inside)]


def segment(manifest, volume, network):
    """Run a manifest; the result is (K, X, Y, Z), a label map being one map."""
    prepared, trail = prepare(manifest, volume)
    outputs = manifest["outputs"]
    maps = predict(manifest["sliding_window"], prepared.data, network)
    maps = ACTIVATIONS[outputs["activation"]](maps)
    for step in outputs["before_undo"]:
        maps = apply(MAPS, step, maps)
    for record in reversed(trail):
        maps = record.undo(maps)
    for step in manifest["postprocessing"]:
        maps = apply(MAPS, step, maps)
    return maps


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
    from deepseg_export.graph import to_onnx
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
