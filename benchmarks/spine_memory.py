"""Peak memory of ``deepseg-lite run totalspineseg`` on a whole spine, with the tests' networks.

``python benchmarks/spine_memory.py`` draws a spine into a volume of 120 x 220 x 520 voxels of 1 mm
and prints the peak of the process for several choices of results. The networks are so small that
nearly all of it is the program's own: scores of nine and eleven channels in float32 take 494 and up
to 604 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

SHAPE, PATCH = (120, 220, 520), [64, 64, 64]
CHOICES = {
    "default": [],
    "both steps": ["--label-vert"],
    "all results": ["--outputs", "{all}"],
    "all results, 1 mm grid": ["--outputs", "{all}", "--iso"],
}
MEASURE = """\
import resource, sys
from deepseg_lite.cli.group import cli
try:
    cli.main(sys.argv[1:], prog_name="deepseg-lite", standalone_mode=False)
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def main() -> None:
    """Print a row for each choice."""
    from helpers.spine import make_spine
    from helpers.spine_bundles import NAMES, image_of, write_bundles

    from deepseg_lite.workflows.spine.outputs import OUTPUTS

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        bundle = write_bundles(work)
        for other in NAMES:
            file = work / other / "manifest.json"
            manifest = json.loads(file.read_text())
            manifest["sliding_window"]["patch_size"] = PATCH
            file.write_text(json.dumps(manifest))
        image = image_of(make_spine())
        data = np.zeros(SHAPE, np.int16)
        data[20:, 40:][tuple(slice(n) for n in image.shape)] = image.dataobj
        data[data == 0] = 1  # so that the crop to what is not zero leaves everything
        nib.save(nib.Nifti1Image(data, image.affine), work / "spine.nii.gz")
        for title, words in CHOICES.items():
            words = [word.format(all=",".join(OUTPUTS)) for word in words]
            command = ["run", str(bundle), "-i", str(work / "spine.nii.gz"), "--overwrite", *words]
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, *command],
                capture_output=True,
                text=True,
                check=True,
            )
            peak_kib = int(done.stderr.split()[-1])
            print(f"{title}: {peak_kib / 1024:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
