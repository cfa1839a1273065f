"""``nnUNetPredictor`` on a trained model, as the Spinal Cord Toolbox sets it up."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.nnunet.folder import (
    find_model_folder,
    is_wanted,
    select_checkpoints,
)
from deepseg_export.families.nnunet.network import without_prefixes
from deepseg_export.families.nnunet.trained import Trained, read_trained
from deepseg_export.families.original import Cases, Original
from deepseg_export.reading.archive import opened_model
from deepseg_export.reading.documents import read_json
from deepseg_export.reading.weights import load_into
from deepseg_lite.volume import AnyArray


def segment(
    model: Path | Sequence[Path], options: Any, manifest: Mapping[str, Any], cases: Cases
) -> Iterator[AnyArray]:
    """Yield the label map (X, Y, Z) that nnU-Net gives for each case.

    Parameters
    ----------
    model, options
        As for the export.
    manifest : mapping
        Of the bundle: the orientation that images are brought to before nnU-Net sees them.
    cases : sequence of sequences of Path
        Image files.

    Raises
    ------
    UnsupportedError
        For models of cropped images, whose crop nnU-Net does not make.
    """
    if "prior" in manifest:
        raise UnsupportedError(
            "nnU-Net does not look around what another model finds; let it label the box around "
            "that, put back into the image, and give that with --reference-labels."
        )
    if "cord_crop" in manifest:
        raise UnsupportedError(
            "nnU-Net does not make the crop around the cord that this model needs; give labels of "
            "the Spinal Cord Toolbox with --reference-labels."
        )
    sources = (model,) if isinstance(model, Path) else tuple(model)
    wanted = partial(is_wanted, checkpoint=options.checkpoint, usual=options.checkpoints)
    with opened_model(sources, wanted) as root:
        folder = find_model_folder(root, ", ".join(map(str, sources)))
        name = (folder if folder != root or root in sources else sources[0]).stem
        files = select_checkpoints(folder, options.folds, options.checkpoint, options.checkpoints)
        folds = [read_trained(file, name) for file in files.values()]
        plans, dataset = read_json(folder / "plans.json"), read_json(folder / "dataset.json")
    predictor = make_predictor(plans, dataset, folds)
    for paths in cases:
        images = [nib.load(path) for path in paths]
        yield predict(predictor, images, manifest["inputs"]["orientation"])


def make_predictor(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], folds: Sequence[Trained]
) -> Any:
    """Return an ``nnUNetPredictor`` on the CPU: no mirroring, half a patch from one to the next.

    The stock trainer builds the network: a trainer matters to inference by that alone, and every
    one in use builds what the plans say. Weights are read by this package, which nothing in a
    checkpoint can make call anything.
    """
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(variable, os.devnull)  # it warns when they are not set
    with _quiet():
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
        from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        manager = PlansManager(dict(plans))
        configuration = manager.get_configuration(folds[0].configuration)
        network = nnUNetTrainer.build_network_architecture(
            manager,
            configuration,
            determine_num_input_channels(manager, configuration, dataset),
            manager.get_label_manager(dataset).num_segmentation_heads,
            enable_deep_supervision=False,
        )
        states = []
        for fold in folds:
            load_into(network, without_prefixes(fold.weights), "The checkpoint")
            states.append({key: value.clone() for key, value in network.state_dict().items()})
        predictor = nnUNetPredictor(
            tile_step_size=0.5,
            use_gaussian=True,
            use_mirroring=False,
            perform_everything_on_device=False,
            device=torch.device("cpu"),
            allow_tqdm=False,
        )
        axes = folds[0].mirror_axes
        predictor.manual_initialization(
            network, manager, configuration, states, dict(dataset), "nnUNetTrainer", axes
        )
    return predictor


def predict(predictor: Any, images: Sequence[Any], orientation: str | None) -> AnyArray:
    """Return the labels (X, Y, Z) of a case of nibabel images, on their grid.

    Axes are brought to an orientation, nibabel's codes, and reversed, as nnU-Net's own reader has
    them; both are undone on the result.
    """
    stored = nib.io_orientation(images[0].affine)
    wanted = stored if orientation is None else nib.orientations.axcodes2ornt(orientation)
    to_model = nib.orientations.ornt_transform(stored, wanted)
    moved = [image.as_reoriented(to_model) for image in images]
    data = np.stack([np.asanyarray(image.dataobj).astype(np.float32) for image in moved])
    spacing = [float(size) for size in moved[0].header.get_zooms()[:3]][::-1]
    with _quiet():
        found = predictor.predict_single_npy_array(
            data.transpose(0, 3, 2, 1), {"spacing": spacing}, None, None, False
        )
    back = nib.orientations.ornt_transform(wanted, stored)
    labels: AnyArray = nib.orientations.apply_orientation(
        np.asarray(found).transpose(2, 1, 0), back
    )
    return labels


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


ORIGINAL = Original("nnUNetPredictor", ("nnunetv2", "torch"), segment)
