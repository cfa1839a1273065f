"""Segment images with ivadomed's ``segment_volume``, as the Spinal Cord Toolbox calls it."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from notes import Notes, arguments


def import_all():
    """Import everything that is used."""
    import torch

    import_torchvision(torch)
    import nibabel
    from ivadomed import inference
    from loguru import logger

    logger.remove()
    return torch, nibabel, inference


KEPT = []  # libraries whose operators go with them


def import_torchvision(torch):
    """Import what ivadomed imports; its operators are only looked up when built for this torch."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        operators = torch.library.Library("torchvision", "FRAGMENT")
        KEPT.append(operators)
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def main() -> None:
    """Print a JSON object: seconds of stages and of the network, when cases ended."""
    notes = Notes()
    options = arguments(__doc__).parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch, nibabel, inference = notes.timed("import", import_all)()
    torch.set_num_threads(options.threads)
    network = inference.onnx_inference
    inference.onnx_inference = notes.network(network, batch=1)
    segment = notes.timed("predict", inference.segment_volume)
    options.out.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(options.images):
        found, _ = segment(options.model, [str(path)], gpu_id=None, options={})
        labels = nibabel.Nifti1Image(found[0].get_fdata().astype("uint8"), found[0].affine)
        notes.timed("write", nibabel.save)(labels, options.out / f"{index}.nii.gz")
        notes.case_ended()
    notes.print()


if __name__ == "__main__":
    main()
