"""Segment one image with deepseg_lite, as its command line does, and print where time went."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    """Print a JSON object: seconds per stage, when this began and the first patch was predicted."""
    began_at = time.time()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", required=True, help="Task name or bundle.")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    clock = [time.perf_counter()]
    from deepseg_lite import api, predictor, session
    from deepseg_lite.cases import plan_cases, run_case

    session.import_onnxruntime()
    clock.append(time.perf_counter())
    segmenter = api.load(options.model, device=options.device, threads=options.threads)
    clock.append(time.perf_counter())

    patches = []
    predict = predictor.PatchPredictor.__call__

    def predict_and_note(network, batch):
        patches.append(time.time())
        return predict(network, batch)

    predictor.PatchPredictor.__call__ = predict_and_note
    (case,) = plan_cases(segmenter, [[options.image]], options.out, overwrite=True)
    stages = run_case(segmenter, case)["Seconds"]
    stages["read"] = stages.pop("load")  # the image; the model was loaded above
    seconds = {"import": clock[1] - clock[0], "load": clock[2] - clock[1], **stages}
    report = {"began_at": began_at, "first_patch_at": patches[0], "network_calls": len(patches)}
    print(json.dumps({**report, "seconds": seconds}))


if __name__ == "__main__":
    main()
