"""Segment images with nnUNetPredictor as the Spinal Cord Toolbox calls it; print the stages.

Reading includes the reorientation that SCT does around nnU-Net, writing includes undoing it.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from notes import Notes, arguments


def import_all(notes):
    """Import everything that is used, and time nnU-Net's own preprocessing and restoring."""
    import nibabel  # noqa: F401
    import torch
    from nnunetv2.inference import predict_from_raw_data as module
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    run_case = DefaultPreprocessor.run_case_npy
    DefaultPreprocessor.run_case_npy = notes.timed("preprocess", run_case)
    restore = "convert_predicted_logits_to_segmentation_with_correct_shape"
    setattr(module, restore, notes.timed("restore", getattr(module, restore)))
    return torch, module.nnUNetPredictor


def load_predictor(torch, predictor_class, options):
    """Return the predictor as SCT sets it up; on CUDA it computes under autocast by itself."""
    torch.set_num_threads(options.threads)
    predictor = predictor_class(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=options.device != "cpu",
        device=torch.device(options.device),
        verbose=False,
        verbose_preprocessing=False,
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(
        options.model, use_folds=options.folds, checkpoint_name="checkpoint_final.pth"
    )
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
    """Print a JSON object: seconds of stages and of the network, when cases ended."""
    notes = Notes()
    parser = arguments(__doc__)
    parser.add_argument("--folds", nargs="+", default=["all"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, os.devnull)
    # Else it resamples with 8 threads whatever there is.
    os.environ["nnUNet_def_n_proc"] = str(options.threads)  # noqa: SIM112

    torch, predictor_class = notes.timed("import", import_all)(notes)
    predictor = notes.timed("load", load_predictor)(torch, predictor_class, options)
    predict = predictor.predict_logits_from_preprocessed_data
    predictor.predict_logits_from_preprocessed_data = notes.timed("predict", predict)
    predictor.network.forward = notes.network(predictor.network.forward)
    letters = predictor.dataset_json.get("image_orientation", "LPI")
    options.out.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(options.images):
        image, data, spacing = notes.timed("read", read)(path, letters)
        properties = {"spacing": [float(size) for size in spacing]}
        labels = predictor.predict_single_npy_array(data, properties)
        notes.timed("write", write)(labels, image, letters, options.out / f"{index}.nii.gz")
        notes.case_ended()
    if options.device != "cpu":
        notes.network_seconds = 0.0  # calls return before the device is done
    notes.print()


if __name__ == "__main__":
    main()
