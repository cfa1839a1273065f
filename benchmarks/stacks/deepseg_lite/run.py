"""Segment images with deepseg_lite, as its command line does, and print where time went."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import closing
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from notes import Notes, arguments


def main() -> None:
    """Print a JSON object: seconds of stages and of the network, when cases ended."""
    notes = Notes()
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--keep-folds", action="store_true", help="In memory, between cases.")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # as the command line sets them

    loader, predictors, cases, overlap = notes.timed("import", import_all)(options.device)
    segmenter = notes.timed("load", loader.load)(
        options.model,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
        keep_folds_loaded=options.keep_folds,
        open_networks=False,
    )
    patch_predictor = predictors.PatchPredictor
    patch_predictor.__call__ = notes.network(patch_predictor.__call__, batch=1)
    settings = cases.Settings()

    def run(index, image):
        out = options.out / f"{index}.nii.gz"
        (case,) = cases.name_outputs(segmenter, [[image]], out, overwrite=True)
        report = yield from cases.run_case_in_stages(segmenter, case, settings)
        notes.case_ended()
        return report["Seconds"]

    runs = [run(index, image) for index, image in enumerate(options.images)]
    opening = notes.timed("load", segmenter.open)
    with closing(overlap.overlapped(runs, opening)) as outcomes:
        for outcome in outcomes:
            seconds = outcome()
            seconds["read"] = seconds.pop("load")  # the image; the model was loaded above
            for stage, value in seconds.items():
                notes.add(stage, value)
    flop = segmenter.bundle.manifest["networks"][0].get("flop")
    notes.print(flop_per_patch=flop)


def import_all(device):
    """Import everything that is used, the engine as well."""
    from deepseg_lite import machine
    from deepseg_lite.api import cases, loader
    from deepseg_lite.engines import predictors
    from deepseg_lite.inference import overlap

    machine.share_one_heap()
    importlib.import_module("openvino" if device == "openvino" else "onnxruntime")
    return loader, predictors, cases, overlap


if __name__ == "__main__":
    main()
