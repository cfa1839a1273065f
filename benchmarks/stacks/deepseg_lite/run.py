"""Segment images with deepseg_lite, as its command line does, and print where time went."""

from __future__ import annotations

import importlib
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

sys.path.append(str(Path(__file__).resolve().parents[1]))
from notes import Notes, arguments


def main() -> None:
    """Print a JSON object: seconds of stages and of the network, when cases ended."""
    notes = Notes()
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--form", default="auto")
    parser.add_argument("--keep-folds", action="store_true", help="In memory, between cases.")
    parser.add_argument("--to-first-patch", action="store_true", help="Stop where it would begin.")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # as the command line sets them

    parts = notes.timed("import", import_all)(options.device)
    segmenter = notes.timed("load", parts.load)(
        options.model,
        device=options.device,
        precision=options.precision,
        form=options.form,
        threads=options.threads,
        keep_folds_loaded=options.keep_folds,
        open_networks=False,
    )

    def stop(patches):
        """Print what was noted until now, and end without the network."""
        notes.print(opening=opening_times, cpu=time.process_time())
        sys.stdout.flush()
        os._exit(0)

    class Noted(parts.Watch):
        """A watch that notes the calls of networks."""

        def called(self, network):
            if options.to_first_patch:
                network = stop
            return notes.network(network, batch=0)

    class Run(parts.FileRun):
        """A case that notes when it has ended."""

        def finish(self):
            report = super().finish()
            notes.case_ended()
            return report["Seconds"]

    runs = []
    for index, image in enumerate(options.images):
        out = options.out / f"{index}.nii.gz"
        (case,) = parts.name_outputs(segmenter, [[image]], out, overwrite=True)
        runs.append(Run(segmenter, case, parts.make_settings(), watch=Noted()))
    opening_times = {}

    def opening():
        begun, cpu = time.perf_counter(), time.thread_time()
        notes.timed("load", segmenter.open)()
        opening_times.update(wall=time.perf_counter() - begun, cpu=time.thread_time() - cpu)

    with closing(parts.overlapped(runs, opening)) as outcomes:
        for outcome in outcomes:
            seconds = outcome()
            seconds["read"] = seconds.pop("load")  # the image; the model was loaded above
            for stage, value in seconds.items():
                notes.add(stage, value)
    flop = segmenter.bundle.manifest["networks"][0].get("flop")
    form = segmenter.engine.file(segmenter.bundle, segmenter.networks[0]).form
    notes.print(flop_per_patch=flop, form=form)


def import_all(device):
    """Import everything that is used, the engine as well."""
    from deepseg_lite.api.cases import FileRun, name_outputs
    from deepseg_lite.api.loader import load
    from deepseg_lite.inference.overlap import overlapped
    from deepseg_lite.inference.settings import make_settings
    from deepseg_lite.machine import share_one_heap
    from deepseg_lite.watch import Watch

    share_one_heap()
    importlib.import_module("openvino" if device == "openvino" else "onnxruntime")
    return SimpleNamespace(
        FileRun=FileRun,
        Watch=Watch,
        load=load,
        make_settings=make_settings,
        name_outputs=name_outputs,
        overlapped=overlapped,
    )


if __name__ == "__main__":
    main()
