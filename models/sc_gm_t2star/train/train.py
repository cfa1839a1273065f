"""Train the shipped model: cord and gray matter on axial T2*-weighted MRI.

    python train.py find --data DATA --work WORK        the small network that finds the cord
    python train.py pretrain --data DATA --work WORK    images of none of the persons
    python train.py finetune --data DATA --work WORK    crops of theirs and everything else
    python train.py refine --data DATA --work WORK      mostly theirs, half of them as scanned

With ``--left-out PERSON`` all but ``pretrain`` are without a person, for the evaluation. The last
two start from the one before. Each phase writes a trained-model folder of nnU-Net v2 for
``deepseg-export nnunet``. A run that was cut short goes on where it was when it is started again.
"""

from __future__ import annotations

import argparse
import json
import math
import pydoc
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from augmentation import Batch, Framing, cut
from images import CORD_OF_SOME_KIND, GRAY, OUTSIDE, PERHAPS_WHITE, PERSONS
from numpy.random import Generator
from sources import SEED, SOURCES, Source
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
MODEL_FOLDER = "nnUNetTrainer__nnUNetPlans__2d"
WARM_UP, SAVE_EVERY, REPORT_EVERY = 50, 100, 50
AVERAGE_DECAY = 0.995  # of the running mean of the weights, which is what is kept
MIN_PIXELS = 20  # a structure with less has no Dice of its own
MAX_GRADIENT = 5.0
OUTPUT_WEIGHTS = (1.0, 0.5, 0.25, 0.125)  # of the loss at full, half, ... resolution


class Show(NamedTuple):
    """Network, and what it is shown.

    ``plans`` is the file that describes the network, ``patches`` are pixels each way and how many
    patches, in turn.
    """

    plans: str
    patches: tuple[tuple[int, int], ...]
    framing: Framing


COARSE = Show("plans_find.json", ((96, 8), (64, 16), (128, 4)), Framing(1.2, (-0.4, 0.4)))
WHOLE = Show(
    "plans.json",
    ((128, 8), (192, 4), (128, 8), (256, 2)),
    Framing(0.5859375, (-0.32, 0.28)),
)
CROPPED = Show(
    "plans_crop.json", ((96, 14), (128, 8)), Framing(0.45, (-0.38, 0.3), around_cord=True)
)


class Schedule(NamedTuple):
    """What a phase learns with, how long and how fast, and how its patches are distorted.

    ``gray_weight`` is that of telling gray from white matter; ``faded`` and ``as_scanned`` are for
    ``augmentation.cut``.
    """

    show: Show
    iterations: int
    learning_rate: float
    gray_weight: float
    faded: float
    as_scanned: float


SCHEDULES = {
    "find": Schedule(COARSE, 2400, 1.5e-3, gray_weight=0.0, faded=0.4, as_scanned=0.2),
    "pretrain": Schedule(WHOLE, 1800, 1.2e-3, gray_weight=1.0, faded=0.35, as_scanned=0.0),
    "finetune": Schedule(CROPPED, 1200, 8e-4, gray_weight=1.0, faded=0.6, as_scanned=0.0),
    "refine": Schedule(CROPPED, 900, 5e-4, gray_weight=2.0, faded=0.5, as_scanned=0.5),
}


def main() -> None:
    """Read the arguments and train once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("phase", choices=SOURCES)
    parser.add_argument("--data", type=Path, required=True, help="folder of the images")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is trained")
    parser.add_argument("--left-out", choices=PERSONS, help="person kept for the evaluation")
    parser.add_argument("--iterations", type=int, help="instead of the phase's own number")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(SEED)
    schedule = SCHEDULES[given.phase]
    if given.iterations:
        schedule = schedule._replace(iterations=given.iterations)
    network = build_network(schedule.show.plans)
    network = network.to(given.device, memory_format=_memory_format(given.device))
    common = given.work / "pretrained"
    run = given.work / (f"without_{given.left_out}" if given.left_out else "everybody")
    run, start = {
        "find": (run / "find", None),
        "pretrain": (common, None),
        "finetune": (run, common / "pretrain.pt"),
        "refine": (run, run / "finetune.pt"),
    }[given.phase]
    if start:
        network.load_state_dict(torch.load(start, weights_only=True)["average"])
    run.mkdir(parents=True, exist_ok=True)
    sources = SOURCES[given.phase](given.data, given.left_out)
    average = learn(network, sources, schedule, run / f"{given.phase}.pt")
    write_model(average, run / MODEL_FOLDER, schedule.show.plans)


def build_network(plans_file: str = "plans.json") -> nn.Module:
    """Build the network of a file of plans as nnU-Net does, with an output at every resolution."""
    plans = json.loads((HERE / plans_file).read_text(encoding="utf-8"))
    architecture = plans["configurations"]["2d"]["architecture"]
    arguments = dict(architecture["arch_kwargs"])
    for name in architecture["_kw_requires_import"]:
        arguments[name] = arguments[name] and pydoc.locate(arguments[name])
    network: Any = pydoc.locate(architecture["network_class_name"])
    return network(input_channels=1, num_classes=2, deep_supervision=True, **arguments)


def _has_bfloat16(device: str) -> bool:
    """Return whether bfloat16 is fast there; on a CPU without it, it takes eight times as long."""
    return not device.startswith("cpu") or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _memory_format(device: str) -> torch.memory_format:
    """Return what is faster there: in float32 on a CPU that is not channels_last."""
    return torch.channels_last if _has_bfloat16(device) else torch.contiguous_format


def learn(
    network: nn.Module, sources: list[Source], schedule: Schedule, state: Path
) -> dict[str, Tensor]:
    """Train and return the running mean of the weights; ``state`` is where it stands."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    first = 0
    if state.is_file():
        saved = torch.load(state, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        average, first = saved["average"], saved["iteration"]
    since, losses = time.perf_counter(), []
    for iteration in range(first, schedule.iterations):
        rng = np.random.default_rng((SEED, iteration))  # so that a resumed run is the same run
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * _rate(iteration, schedule.iterations)
        batch = _draw(sources, iteration, schedule, rng)
        losses.append(_step(network, optimizer, batch, schedule.gray_weight))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, 1 - min(AVERAGE_DECAY, (1 + iteration) / (10 + iteration)))
        done = iteration + 1
        if done % REPORT_EVERY == 0:
            seconds = (time.perf_counter() - since) / len(losses)
            print(f"{done} loss {np.mean(losses):.4f}, {seconds:.2f} s each", flush=True)
            since, losses = time.perf_counter(), []
        if done % SAVE_EVERY == 0 or done == schedule.iterations:
            weights = {"network": network.state_dict(), "average": average}
            partial = state.with_suffix(".part")
            torch.save({**weights, "optimizer": optimizer.state_dict(), "iteration": done}, partial)
            partial.replace(state)
    return average


def _rate(iteration: int, iterations: int) -> float:
    """Rise for a short while, then fall as a cosine does."""
    return (
        min(1.0, (iteration + 1) / WARM_UP) * (1 + math.cos(math.pi * iteration / iterations)) / 2
    )


def _draw(sources: list[Source], iteration: int, schedule: Schedule, rng: Generator) -> Batch:
    """Draw the patches of one iteration."""
    size, count = schedule.show.patches[iteration % len(schedule.show.patches)]
    chosen = rng.choice(len(sources), count, p=[source.share for source in sources])
    stacks = [sources[i].stacks[rng.integers(len(sources[i].stacks))] for i in chosen]
    return cut(
        stacks,
        size,
        rng,
        framing=schedule.show.framing,
        faded=schedule.faded,
        as_scanned=schedule.as_scanned,
    )


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, gray_weight: float
) -> float:
    """Learn from one batch and return its loss."""
    device = next(network.parameters()).device
    image = batch.image.to(device).contiguous(memory_format=_memory_format(device.type))
    with torch.autocast(device.type, torch.bfloat16, enabled=_has_bfloat16(device.type)):
        outputs = network(image)
    loss = loss_of_all(outputs, batch.shares.to(device), gray_weight)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT)
    optimizer.step()
    return loss.item()


def loss_of_all(outputs: list[Tensor], shares: Tensor, gray_weight: float) -> Tensor:
    """Return the weighted loss of the outputs, each half as fine as the one before.

    The coarse ones see that cord and gray matter are one piece, which the finest alone does not.
    """
    total = torch.zeros((), device=shares.device)
    for weight, logits in zip(OUTPUT_WEIGHTS, outputs, strict=False):
        coarse = F.adaptive_avg_pool2d(shares, logits.shape[-2:])
        total = total + weight * loss_of(logits.float(), coarse, gray_weight)
    return total / sum(OUTPUT_WEIGHTS)


def loss_of(logits: Tensor, shares: Tensor, gray_weight: float) -> Tensor:
    """Cross-entropy and Dice of cord and gray matter, where the labels say which it is.

    Parameters
    ----------
    logits : Tensor
        Cord and gray matter, shape (N, 2, P, P).
    shares : Tensor
        How much of each pixel has each label of ``images``, shape (N, L, P, P).
    gray_weight : float
        Weight of the cross-entropy of gray matter within the cord alone. Without it a network that
        takes the whole cord for gray matter has a Dice that is hard to improve in small steps.

    Returns
    -------
    loss : Tensor
        One number. The Dice of the batch steadies it, that of each patch is for slices with little.
    """
    target = torch.stack((1 - shares[:, OUTSIDE], shares[:, GRAY]), 1)
    unknown = shares[:, [PERHAPS_WHITE, CORD_OF_SOME_KIND]]
    known = (unknown == 0).float()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
    within = target[:, 0] * known[:, 1]
    of_gray = (entropy[:, 1] * within).sum() / (within.sum() + 1)
    overlap = (torch.sigmoid(logits) * target * known).sum((2, 3))
    found, true = (torch.sigmoid(logits) * known).sum((2, 3)), (target * known).sum((2, 3))
    of_batch = (2 * overlap.sum(0) + 1) / (found.sum(0) + true.sum(0) + 1)
    of_patches = ((2 * overlap + 1) / (found + true + 1))[true > MIN_PIXELS]
    dice = of_batch.mean() + (of_patches.mean() if len(of_patches) else 1.0)
    return 10 * entropy.sum() / known.sum() + gray_weight * of_gray + 2 - dice


def write_model(weights: dict[str, Tensor], folder: Path, plans: str = "plans.json") -> None:
    """Write a trained-model folder of nnU-Net v2, of float16 values: half the size in a zip."""
    fold = folder / "fold_all"
    fold.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / plans, folder / "plans.json")
    shutil.copy(HERE / "dataset.json", folder / "dataset.json")
    checkpoint = {
        "network_weights": {
            name: value.cpu().half().float().contiguous() for name, value in weights.items()
        },
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "2d", "fold": "all"},
        "inference_allowed_mirroring_axes": (0, 1),
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")
    print(f"Wrote {folder}")


if __name__ == "__main__":
    main()
