"""What ivadomed 2.9.10 itself makes: small models, as it saves them, and results of its functions.

Run by the interpreter of an environment of its own, which has ivadomed and not this project; the
tests talk to it through files. Nothing here is taken from, or imports, the software under test.

ivadomed_original.py models FOLDER    write every model of `MODELS`
ivadomed_original.py networks FOLDER  write every network of `NETWORKS`, and what it computes
ivadomed_original.py exports FOLDER   write NAME.onnx of every network in it, by torch's exporter
ivadomed_original.py run JOBS.json    do a list of jobs: {"call": NAME, "output": FILE.npz, ...}

TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 lets it load the pickled networks that it wrote.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np
import torch

try:
    import torchvision  # noqa: F401 - ivadomed does so, too
except RuntimeError:  # it was built for another torch, whose operators it then only looks up
    _operators = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from ivadomed import inference, models, postprocessing, transforms, utils
from ivadomed.loader import slice_filter
from ivadomed.loader.mri2d_segmentation_dataset import MRI2DSegmentationDataset
from ivadomed.loader.mri3d_subvolume_segmentation_dataset import MRI3DSubVolumeSegmentationDataset
from ivadomed.loader.sample_meta_data import SampleMetadata
from ivadomed.object_detection import utils as boxes
from loguru import logger

logger.remove()

# Pickles of 2020 are in the container that torch wrote before 1.6, with the classes' source.
OLD_CONTAINER = ("t2star_sc", "t2_tumor")
SPACINGS = ("hspace", "wspace", "dspace")
NORMALIZE = {"NormalizeInstance": {"applied_to": ["im"]}}
AFFINE = {"RandomAffine": {"degrees": 5, "scale": [0.1, 0.1, 0.1], "translate": [0.03, 0.03, 0.03]}}
TUMOR_STEPS = {"binarize_prediction": {"thr": 0.5}}
SEVEN_TESLA_STEPS = {
    "remove_noise": {"thr": -1},
    "keep_largest": {},
    "binarize_prediction": {"thr": 0.5},
    "uncertainty": {"thr": -1, "suffix": "_unc-vox.nii.gz"},
    "fill_holes": {},
    "remove_small": {"unit": "vox", "thr": 3},
}


def resample(*spacing: float) -> dict:
    return {"Resample": dict(zip(SPACINGS, spacing, strict=False), preprocessing=True)}


def crop(*size: int) -> dict:
    return {"CenterCrop": {"size": list(size), "preprocessing": True}}


# Settings of the JSON files of the named tasks; patches and networks are smaller.
MODELS = {
    "t2star_sc": dict(
        targets=["_seg"], transformation=resample(0.75, 0.75) | crop(160, 160), depth=3, batch=32
    ),
    "multiclass_7t": dict(
        targets=["_7t_multiclass_sc", "_7t_multiclass_gm"],
        transformation=resample(0.4, 0.4) | crop(128, 128),
        depth=3,
        batch=20,
        postprocessing=SEVEN_TESLA_STEPS,
    ),
    "exvivo": dict(
        targets=["_gmseg", "_wmseg"],
        transformation=resample(0.45, 0.45, 1),
        depth=3,
        batch=2,
        activation="relu",
        postprocessing={
            "remove_noise": {"thr": 0.01},
            "remove_small": {"unit": "vox", "thr": 3},
        },
    ),
    "sagittal_softmax": dict(
        targets=["_a", "_b"],
        slice_axis="sagittal",
        transformation=crop(64, 48) | resample(1.5, 2),
        activation="softmax",
        batch=4,
        postprocessing={"binarize_maxpooling": {}},
    ),
    "coronal_patches": dict(
        targets=["_seg"],
        slice_axis="coronal",
        transformation=resample(1, 1),
        patches={"length_2D": [16, 20], "stride_2D": [10, 14]},
        batch=7,
    ),
    "relu_batches": dict(
        targets=["_seg"],
        transformation=resample(1, 1) | crop(48, 64),
        activation="relu",
        batch=3,
    ),
    "lumbar": dict(
        targets=["_seg"],
        transformation=resample(1, 1, 1) | crop(32, 96, 128),
        patch=[32, 96, 128],
        stride=[32, 96, 128],
        batch=1,
        postprocessing={key: SEVEN_TESLA_STEPS[key] for key in SEVEN_TESLA_STEPS if key[0] != "u"},
    ),
    "findcord_tumor": dict(
        targets=["_sc-mask"],
        slice_axis="sagittal",
        transformation=resample(1, 1, 2) | crop(64, 64, 32) | AFFINE,
        patch=[64, 64, 32],
        stride=[64, 64, 32],
        batch=1,
        postprocessing=TUMOR_STEPS | {"keep_largest": {}},
    ),
    "t2_tumor": dict(
        targets=["_seg-tumor"],
        slice_axis="sagittal",
        transformation=resample(1, 1, 2),
        patch=[64, 32, 16],
        stride=[32, 16, 8],
        batch=8,
        box=[1, 1, 1],
        postprocessing=TUMOR_STEPS,
    ),
    "tumor_edema_cavity": dict(
        targets=["_seg-tumor", "_seg-edema", "_seg-cavity", "_seg-whole-tumor"],
        contrasts=["T2w", "T1w"],
        slice_axis="sagittal",
        transformation=resample(1, 1, 2),
        patch=[32, 32, 32],
        stride=[16, 16, 32],
        batch=8,
        box=[1.2, 1.2, 1.0],
        postprocessing=TUMOR_STEPS
        | {"remove_small": {"unit": "mm3", "thr": 100}, "fill_holes": {}},
    ),
    "relu_3d": dict(
        targets=["_seg"],
        transformation=resample(2, 2, 2) | crop(48, 48, 32),
        patch=[32, 32, 16],
        stride=[16, 16, 16],
        activation="relu",
        batch=3,
    ),
    "unet_3d": dict(
        targets=["_seg"],
        transformation=resample(2, 2, 2) | crop(32, 48, 32),
        patch=[32, 32, 16],
        stride=[16, 16, 16],
        unet_3d=True,
        batch=2,
    ),
}

# Of every depth, kind and output, as small as they can be; the starred ones are in tests/data.
NETWORKS = {
    "unet_flat": dict(targets=["_seg"], depth=1, n_filters=3),
    "unet_deep": dict(targets=["_a", "_b", "_c"], depth=5, n_filters=2, activation="relu"),
    "unet_softmax": dict(  # *
        targets=["_a", "_b"],
        contrasts=["T1w", "T2w"],
        depth=2,
        n_filters=3,
        activation="softmax",
    ),
    "unet_relu": dict(targets=["_seg"], depth=1, n_filters=3, activation="relu"),  # *
    "unet_3d": dict(targets=["_seg"], depth=1, n_filters=1, unet_3d=True),  # *
    "unet_3d_relu": dict(
        targets=["_a", "_b"], depth=3, n_filters=2, unet_3d=True, activation="relu"
    ),
    "modified": dict(  # *
        targets=["_seg"], contrasts=["T1w", "T2w"], patch=[32, 16, 16], n_filters=1
    ),
    "modified_softmax": dict(targets=["_a", "_b"], patch=[16, 32, 16], activation="softmax"),
    "modified_relu": dict(targets=["_a", "_b"], patch=[16, 16, 32], n_filters=3, activation="relu"),
}


def build(made: dict) -> torch.nn.Module:
    """Make a network with weights that give outputs of all sizes."""
    torch.manual_seed(20240229)
    classes = len(made["targets"])
    shared = dict(
        in_channel=len(made.get("contrasts", ["T2w"])),
        out_channel=classes + 1 if classes > 1 else 1,
        final_activation=made.get("activation", "sigmoid"),
    )
    if "patch" in made and "unet_3d" not in made:
        network = models.Modified3DUNet(**shared, n_filters=made.get("n_filters", 2))
        last = [network.conv3d_l4, network.ds2_1x1_conv3d, network.ds3_1x1_conv3d]
        factor = 8
    else:
        network = models.Unet(
            **shared,
            depth=made.get("depth", 2),
            n_filters=made.get("n_filters", 4),
            is_2d="unet_3d" not in made,
        )
        last, factor = [network.decoder.last_conv], 20
    with torch.no_grad():
        for layer in last:
            layer.weight *= factor
            if shared["final_activation"] == "relu" and layer.bias is not None:
                layer.bias += 1
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.uniform_(0, 0.3)
                layer.running_var.uniform_(0.2, 1.5)
    return network


def config(name: str, made: dict) -> dict:
    """Return the JSON of a model, as training leaves it in the model's folder."""
    contrasts = made.get("contrasts", ["T2w"])
    default = {"name": "Unet", "dropout_rate": 0.3, "depth": made.get("depth", 2)}
    volume = "patch" in made
    default["is_2d"] = not volume
    if not volume:
        default["final_activation"] = made.get("activation", "sigmoid")
        default |= made.get("patches", {})
    document = {
        "command": "train",
        "gpu_ids": [0],
        "log_directory": name,
        "model_name": name,
        "debugging": False,
        "loader_parameters": {
            "bids_path": ["data"],
            "target_suffix": made["targets"],
            "roi_params": {"suffix": None, "slice_filter_roi": None},
            "contrast_params": {
                "training_validation": contrasts,
                "testing": contrasts,
                "balance": {},
            },
            "slice_filter_params": {"filter_empty_mask": False, "filter_empty_input": True},
            "slice_axis": made.get("slice_axis", "axial"),
            "multichannel": len(contrasts) > 1,
        },
        "training_parameters": {"batch_size": made["batch"], "balance_samples": False},
        "default_model": default,
        "uncertainty": {"epistemic": False, "aleatoric": False, "n_it": 0},
        "postprocessing": made.get("postprocessing", {}),
        "testing_parameters": {"binarize_prediction": True},
        "transformation": {**made["transformation"], **NORMALIZE, "NumpyToTensor": {}},
    }
    if "box" in made:
        document["object_detection_params"] = {
            "object_detection_path": "/data/findcord_tumor",
            "safety_factor": made["box"],
        }
    if volume:
        document["Modified3DUNet" if "unet_3d" in made else "UNet3D"] = {
            "applied": "unet_3d" not in made,
            "length_3D": made["patch"],
            "stride_3D": made["stride"],
            "attention": False,
            "n_filters": 2,
            "final_activation": made.get("activation", "sigmoid"),
        }
    return document


def write_models(folder: Path) -> None:
    """Write NAME/NAME.json, .pt and .onnx of every model."""
    # Files of the releases come from the exporter that newer versions of torch call old.
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    for name, made in MODELS.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        network = build(made)
        (place / f"{name}.json").write_text(json.dumps(config(name, made), indent=4))
        is_new = name not in OLD_CONTAINER
        torch.save(network, place / f"{name}.pt", _use_new_zipfile_serialization=is_new)
        spatial = made.get("patch", [48, 48])
        example = torch.randn(1, len(made.get("contrasts", ["T2w"])), *spatial)
        utils.save_onnx_model(network, example, str(place / f"{name}.onnx"))


def write_networks(folder: Path) -> None:
    """Write NAME.pt of every network, and in NAME.npz batches and what it makes of them.

    The second item of a batch is noise in its middle and zero around that. ``exact`` is what
    numbers of 64 bits give.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, made) in enumerate(NETWORKS.items()):
        network = build(made).eval()
        torch.save(network, folder / f"{name}.pt")
        small = (13, 18, 11) if "unet_3d" in made else (37, 42)
        rng = np.random.default_rng(number)
        shape = (2, len(made.get("contrasts", ["T2w"])), *made.get("patch", small))
        batch = rng.integers(-9, 10, shape).astype(np.float32) / 4
        inside = tuple(slice(size // 3, size - size // 3) for size in shape[2:])
        middle = batch[(1, slice(None), *inside)].copy()
        batch[1] = 0
        batch[(1, slice(None), *inside)] = middle
        with torch.no_grad():
            result = network(torch.from_numpy(batch)).numpy()
            exact = network.double()(torch.from_numpy(batch).double()).float().numpy()
        np.savez_compressed(folder / f"{name}.npz", batch=batch, result=result, exact=exact)


def write_exports(folder: Path) -> None:
    """Write NAME.onnx of every network that is pickled there: of any size, in one batch."""
    for pickle in sorted(folder.glob("*.pt")):
        batch = torch.from_numpy(np.load(pickle.with_suffix(".npz"))["batch"])
        sizes = {0: "N", **{axis: f"size{axis}" for axis in range(2, batch.ndim)}}
        torch.onnx.export(
            torch.load(pickle, map_location="cpu").eval(),
            batch[:1],
            str(pickle.with_suffix(".onnx")),
            dynamo=False,
            opset_version=18,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": sizes, "logits": {0: "N"}},
        )


def call_resample(array: np.ndarray, zooms: list, target: list) -> dict:
    """Resample (H, W[, D]), and a prediction on the new grid back."""
    metadata = SampleMetadata({})
    zooms = np.float32(zooms)
    metadata["zooms"], metadata["data_type"], metadata["data_shape"] = zooms, "im", array.shape
    transform = transforms.Resample(*target)
    result, metadata = transform(array, metadata)
    metadata["data_type"] = "gt"
    back, _ = transform.undo_transform(result, metadata)
    return {"result": result, "back": back}


def call_center_crop(array: np.ndarray, size: list) -> dict:
    """Crop (H, W[, D]), and undo it."""
    metadata = SampleMetadata({})
    metadata["crop_params"] = {}
    transform = transforms.CenterCrop(size)
    result, metadata = transform(array, metadata)
    back, _ = transform.undo_transform(np.array(result), metadata)
    return {"result": result, "back": back}


def call_box(
    array: np.ndarray, zooms: list, target: list, factor: list, patch: list, stride: list
) -> dict:
    """Return start and size of the box around a mask (H, W, D) on the resampled grid."""
    box = boxes.adjust_bb_size(boxes.get_bounding_boxes(array)[0], factor)
    metadata = SampleMetadata({})
    metadata["zooms"], metadata["bounding_box"] = np.float32(zooms), box
    pair = {"input_metadata": [metadata], "gt_metadata": []}
    composed = transforms.Compose({"Resample": dict(zip(SPACINGS, target, strict=True))})
    composed = boxes.adjust_transforms(composed, pair, length=patch, stride=stride)
    size = composed.transform["im"].transforms[1].size
    return {"start": np.array(metadata["bounding_box"][::2]), "size": np.array(size)}


def call_normalize(array: np.ndarray) -> dict:
    return {"result": transforms.NormalizeInstance()(array, None)[0]}


def call_postprocess(array: np.ndarray, steps: dict, spacing: list) -> dict:
    """Apply steps to maps (X, Y, Z, L)."""
    maps = array.copy()
    maps[maps <= 1e-2] = 0
    sizes = np.float32(spacing)  # as a header holds them
    return {"result": postprocessing.Postprocessing(steps, maps, sizes, None).apply()}


def call_forward(array: np.ndarray, model: str) -> dict:
    """Run a pickled network on a batch, in the batch's precision."""
    batch = torch.from_numpy(array)
    network = torch.load(model, map_location="cpu").eval().to(batch.dtype)
    with torch.no_grad():
        return {"result": network(batch).numpy()}


def call_prepare(model: str, images: list) -> dict:
    """Return what the network is given: patches (N, C, ...) and their slice or first corner."""
    name = Path(model).name
    document = inference.imed_config_manager.ConfigurationManager(
        str(Path(model, f"{name}.json"))
    ).get_config()
    parameters = document["loader_parameters"]
    axis = utils.AXIS_DCT[parameters["slice_axis"]]
    _, _, chosen = transforms.get_subdatasets_transforms(document["transformation"])
    chosen.pop("RandomAffine", None)
    composed, _ = transforms.prepare_transforms(chosen)
    pairs = [(images, None, None, [{}])]
    default = document["default_model"]
    if default["is_2d"]:
        data = MRI2DSegmentationDataset(
            pairs,
            length=default.get("length_2D", []),
            stride=default.get("stride_2D", []),
            slice_axis=axis,
            transform=composed,
            slice_filter_fn=slice_filter.SliceFilter(**parameters["slice_filter_params"]),
        )
        data.load_filenames()
    else:
        patch = document["Modified3DUNet"]
        data = MRI3DSubVolumeSegmentationDataset(
            pairs, composed, length=patch["length_3D"], stride=patch["stride_3D"], slice_axis=axis
        )
    return {"result": np.stack([np.stack(list(data[i]["input"])) for i in range(len(data))])}


def call_segment(model: str, images: list, options: dict | None = None) -> dict:
    """Segment as SCT does; the random affine of `findcord_tumor` is switched off."""
    found, targets = inference.segment_volume(model, images, gpu_id=None, options=options or {})
    maps = np.stack([np.asarray(image.dataobj) for image in found])
    return {"maps": maps, "targets": np.array(targets)}


def unchanged(_self: object, sample: object, metadata: object = None) -> tuple:
    return sample, metadata


def run(jobs: list) -> None:
    """Do the jobs; the array of one comes from its ``input``, an .npy file."""
    transforms.RandomAffine.__call__ = unchanged
    transforms.RandomAffine.undo_transform = unchanged
    for job in jobs:
        keywords = {k: v for k, v in job.items() if k not in ("call", "input", "output")}
        if "input" in job:
            keywords["array"] = np.load(job["input"])
        np.savez(job["output"], **globals()[f"call_{job['call']}"](**keywords))


if __name__ == "__main__":
    if sys.argv[1] == "models":
        write_models(Path(sys.argv[2]))
    elif sys.argv[1] == "networks":
        write_networks(Path(sys.argv[2]))
    elif sys.argv[1] == "exports":
        write_exports(Path(sys.argv[2]))
    else:
        run(json.loads(Path(sys.argv[2]).read_text()))
