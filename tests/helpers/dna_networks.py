"""Random networks of dynamic_network_architectures, described as plans describe them."""

from __future__ import annotations

import pydoc
from collections.abc import Mapping
from typing import Any

import numpy as np

CLASSES = ("conv_op", "norm_op", "dropout_op", "nonlin", "block")
NONLINEARITIES: dict[str, dict[str, Any]] = {
    "CELU": {"alpha": 0.7},
    "ELU": {"alpha": 0.5},
    "GELU": {},
    "Hardshrink": {"lambd": 0.3},
    "Hardsigmoid": {},
    "Hardswish": {},
    "Hardtanh": {"min_val": -0.6, "max_val": 1.3},
    "Identity": {},
    "LeakyReLU": {"negative_slope": 0.2, "inplace": True},
    "LogSigmoid": {},
    "LogSoftmax": {"dim": 1},
    "Mish": {},
    "PReLU": {},
    "RReLU": {},
    "ReLU": {"inplace": True},
    "ReLU6": {},
    "SELU": {},
    "SiLU": {},
    "Sigmoid": {},
    "Softmax": {"dim": -1},
    "Softmin": {"dim": -3},
    "Softplus": {"beta": 2.0},
    "Softshrink": {},
    "Softsign": {},
    "Tanh": {},
    "Tanhshrink": {},
    "Threshold": {"threshold": 0.1, "value": -0.2},
}


def described(
    network: str = "PlainConvUNet", dimension: int = 3, **arguments: Any
) -> dict[str, Any]:
    """Describe a small network as plans do; arguments replace those of the usual ones."""
    stages = "n_conv_per_stage" if network == "PlainConvUNet" else "n_blocks_per_stage"
    usual: dict[str, Any] = {
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{dimension}d",
        "kernel_sizes": [[3] * dimension] * 3,
        "strides": [[1] * dimension, [2] * dimension, [2] * dimension],
        stages: [1, 2, 1],
        "n_conv_per_stage_decoder": [1, 2],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    arguments = {**usual, **arguments}
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
        "arch_kwargs": arguments,
        "_kw_requires_import": [name for name in CLASSES if name in arguments],
    }


def built(plan: Mapping[str, Any], channels: int, heads: int, seed: int) -> Any:
    """Build the network of a plan, with random weights and statistics, for inference."""
    import torch

    arguments = dict(plan["arch_kwargs"])
    for name in plan["_kw_requires_import"]:
        arguments[name] = pydoc.locate(arguments[name]) if arguments[name] else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = pydoc.locate(plan["network_class_name"])(  # type: ignore[operator]
            input_channels=channels, num_classes=heads, deep_supervision=False, **arguments
        )
        if "Lazy" in str(plan["arch_kwargs"]["norm_op"]):  # which have no weights before they run
            dimension = len(plan["arch_kwargs"]["kernel_sizes"][0])
            network.eval()(torch.zeros(1, channels, *[16] * dimension))
        return randomised(network)


def randomised(network: Any) -> Any:
    """Give everything that training changes another value than that of a new network."""
    import torch

    with torch.no_grad():
        for name, values in network.state_dict().items():
            if name.endswith("running_var"):
                values.uniform_(0.5, 2)
            elif values.is_floating_point() and values.ndim == 1:
                values.add_(torch.randn_like(values), alpha=0.3)
    return network.eval()


def state_of(network: Any) -> dict[str, np.ndarray]:
    """Return the state as the checkpoint reader gives it."""
    return {name: values.numpy() for name, values in network.state_dict().items()}


def random_plan(seed: int) -> dict[str, Any]:
    """Return one of the many networks that plans can describe."""
    rng = np.random.default_rng(seed)

    def one_of(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    dimension = int(rng.integers(2, 4))
    stages = int(rng.integers(2, 5))
    network = one_of("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
    is_plain = network == "PlainConvUNet"
    features = [int(value) for value in 2 * rng.integers(1, 6, stages)]
    norm = one_of("instancenorm.InstanceNorm", "batchnorm.BatchNorm", None)
    nonlin = one_of(*NONLINEARITIES)
    arguments: dict[str, Any] = {
        "n_stages": stages,
        "features_per_stage": one_of(features, features, features[0]),
        "kernel_sizes": one_of(
            3, [[one_of(1, 3, 3, 5) for _ in range(dimension)] for _ in range(stages)]
        ),
        "strides": [
            1,
            *one_of(
                [2] * (stages - 1),
                [[one_of(1, 2, 2, 3) for _ in range(dimension)] for _ in range(stages - 1)],
            ),
        ],
        "n_conv_per_stage" if is_plain else "n_blocks_per_stage": one_of(
            1, 2, [int(value) for value in rng.integers(1, 3, stages)]
        ),
        "n_conv_per_stage_decoder": one_of(
            1, [int(value) for value in rng.integers(1, 3, stages - 1)]
        ),
        "conv_bias": one_of(True, False),
        "norm_op": norm and f"torch.nn.modules.{norm}{dimension}d",
        "norm_op_kwargs": norm
        and one_of(
            {"eps": 1e-3, "affine": True}, {"affine": False}, {"track_running_stats": True}, {}
        ),
        "dropout_op": one_of(None, f"torch.nn.Dropout{dimension}d"),
        "dropout_op_kwargs": {"p": 0.2},
        "nonlin": one_of(f"torch.nn.{nonlin}", f"torch.nn.modules.activation.{nonlin}")
        if nonlin != "Identity"
        else None,
        "nonlin_kwargs": NONLINEARITIES[nonlin],
    }
    if is_plain:
        arguments["nonlin_first"] = one_of(True, False)
    else:
        blocks = "dynamic_network_architectures.building_blocks.residual."
        arguments["stem_channels"] = one_of(None, 4)
        if one_of(True, False):
            arguments["block"] = f"{blocks}BottleneckD"
            arguments["bottleneck_channels"] = one_of(3, [2] * stages)
        else:
            arguments["block"] = f"{blocks}BasicBlockD"
    return described(network, dimension, **arguments)
