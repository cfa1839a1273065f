"""Surroundings of networks: what is done to an image before, and to the output after.

A file of Keras holds a network alone. Of known architectures the original software says the rest;
they are data, by the names of `known.KNOWN`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WHOLE = {"placement": "stride", "importance_map": "constant"}

GRAY_MATTER: Mapping[str, Any] = {
    "inputs": {
        "channel_names": ["t2star"],
        "orientation": None,
        "axes": "zxy",
        "training_orientation": "LAS",
    },
    "preprocessing": [
        {"step": "resize", "spacing": [None, 0.25, 0.25]},
        {"step": "field_of_view", "shape": [None, 200, 200], "mode": "symmetric", "value": 0.0},
        {"step": "normalize", "channels": [{"scheme": "zscore", "nonzero_only": False}]},
    ],
    "center": {
        "task": "sc_gm_t2star",
        "position": {"L": 0.51, "A": 0.51},
        "source": "manual masks of five people (gm_challenge 10062, 9418, 9584, 9709; "
        "sct_testing_data t2s_uncropped): 0.49 to 0.54 towards L, 0.46 to 0.56 towards A",
    },
    "sliding_window": {**_WHOLE, "patch_size": [1, 200, 200], "stride": [1, 200, 200]},
    "outputs": {
        "activation": "none",
        "values": "maps",
        "channels": 1,
        "labels": [{"name": "gm", "values": [1]}],
        "regions_class_order": None,
        "threshold_at": "before_undo",
        "before_undo": [
            {"step": "binarize", "threshold": 0.999, "inclusive": False},
            {"step": "whole_numbers"},
        ],
        "files": [{"suffix": "gmseg", "kind": "mask"}],
    },
    "postprocessing": [{"step": "binarize", "threshold": 0.5, "inclusive": True}],
}
"""Source: the Spinal Cord Toolbox, main branch of August 2026, ``deepseg_/gm.py``; but for
``center``, which is of this project and is measured by ``tests/parity/test_keras_centering.py``."""

SURROUNDINGS: Mapping[str, Mapping[str, Any]] = {"gray_matter_aspp": GRAY_MATTER}


def of_shapes(input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> Mapping[str, Any]:
    """Return the least that can be said of a network: its windows, its channels, no steps."""
    axes = len(input_shape) - 1
    patch = [*[1] * (3 - axes), *input_shape[1:]]
    return {
        "inputs": {
            "channel_names": [f"channel{number}" for number in range(input_shape[0])],
            "orientation": None,
            "axes": "zxy" if axes == 2 else "xyz",
        },
        "preprocessing": [
            {
                "step": "normalize",
                "channels": [{"scheme": "zscore", "nonzero_only": False}] * input_shape[0],
            }
        ],
        "sliding_window": {
            "placement": "clamped_stride",
            "importance_map": "constant",
            "patch_size": patch,
            "stride": [max(1, size // 2) if size > 1 else 1 for size in patch],
        },
        "outputs": {
            "activation": "none",
            "values": "maps",
            "channels": output_shape[0],
            "labels": [
                {"name": f"label{number}", "values": [number]}
                for number in range(1, output_shape[0] + 1)
            ],
            "regions_class_order": None,
        },
        "postprocessing": [{"step": "binarize", "threshold": 0.5, "inclusive": False}],
    }
