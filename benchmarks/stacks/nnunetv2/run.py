"""Segment one image with nnUNetPredictor as the Spinal Cord Toolbox calls it; print the stages.

Reading includes the reorientation that SCT does around nnU-Net, writing includes undoing it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path

SECONDS: dict[str, float] = {}


def timed(stage, function):
    """Return a function that adds its run time to a stage."""

    def wrapper(*args, **kwargs):
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            SECONDS[stage] = SECONDS.get(stage, 0.0) + time.perf_counter() - started

    return wrapper


def import_all():
    """Import everything that is used, and time nnU-Net's own preprocessing and restoring."""
    import nibabel  # noqa: F401
    import torch
    from nnunetv2.inference import predict_from_raw_data as module
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    DefaultPreprocessor.run_case_npy = timed("preprocess", DefaultPreprocessor.run_case_npy)
    restore = "convert_predicted_logits_to_segmentation_with_correct_shape"
    setattr(module, restore, timed("restore", getattr(module, restore)))
    return torch, module.nnUNetPredictor


def load_predictor(torch, predictor_class, model, folds, threads):
    """Return the predictor as SCT sets it up."""
    torch.set_num_threads(threads)
    predictor = predictor_class(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        verbose=False,
        verbose_preprocessing=False,
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(
        str(model), use_folds=folds, checkpoint_name="checkpoint_final.pth"
    )
    predict = predictor.predict_logits_from_preprocessed_data
    predictor.predict_logits_from_preprocessed_data = timed("predict", predict)
    return predictor


def orientations(nib, image, letters):
    """Return the stored orientation and the model's; SCT's letters are opposite to nibabel's."""
    codes = letters.translate(str.maketrans("RLAPSI", "LRPAIS"))
    return nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)


def read(path, letters):
    """Return the image, its voxels (C, Z, Y, X) in the model's orientation and their spacing."""
    import nibabel as nib
    import numpy as np

    image = nib.load(path)
    stored, wanted = orientations(nib, image, letters)
    moved = image.as_reoriented(nib.orientations.ornt_transform(stored, wanted))
    data = np.asanyarray(moved.dataobj).astype(np.float32)
    return image, data.transpose(2, 1, 0)[None], moved.header.get_zooms()[2::-1]


def write(labels, image, letters, out):
    """Write labels (Z, Y, X) on the grid of the image."""
    import nibabel as nib
    import numpy as np

    stored, wanted = orientations(nib, image, letters)
    back = nib.orientations.ornt_transform(wanted, stored)
    restored = nib.orientations.apply_orientation(np.asarray(labels).transpose(2, 1, 0), back)
    nib.save(nib.Nifti1Image(restored.astype(np.uint8), image.affine), out)


def main() -> None:
    """Print a JSON object: seconds per stage, when this began and the first patch was predicted."""
    began_at = time.time()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", required=True, type=Path, help="Trained-model folder.")
    parser.add_argument("--folds", nargs="+", default=["all"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, os.devnull)
    # Else it resamples with 8 threads whatever there is.
    os.environ["nnUNet_def_n_proc"] = str(options.threads)  # noqa: SIM112

    torch, predictor_class = timed("import", import_all)()
    load = timed("load", load_predictor)
    predictor = load(torch, predictor_class, options.model, options.folds, options.threads)
    patches: list[float] = []
    predictor.network.register_forward_pre_hook(lambda *_: patches.append(time.time()))
    letters = predictor.dataset_json.get("image_orientation", "LPI")
    image, data, spacing = timed("read", read)(options.image, letters)
    properties = {"spacing": [float(size) for size in spacing]}
    labels = predictor.predict_single_npy_array(data, properties)
    timed("write", write)(labels, image, letters, options.out)
    report = {"began_at": began_at, "first_patch_at": patches[0], "network_calls": len(patches)}
    print(json.dumps({**report, "seconds": SECONDS}))


if __name__ == "__main__":
    main()
