"""Turn the results of the end-to-end parity tests into docs/developers/parity.md.

pytest tests/parity/test_end_to_end.py -m parity --junitxml=parity.xml
python tests/parity/table.py parity.xml > docs/developers/parity.md
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree

HEAD = """# Agreement with nnU-Net, image by image

Label maps of trained checkpoints on real images: voxels that differ from `nnUNetPredictor`
(nnunetv2 2.8.1, torch, CPU), run live on the same image as the Spinal Cord Toolbox calls it.
*float16 sums* adds up logits in half precision as nnU-Net does (`--accumulator float16`); *float32*
is the default. Dice is the worst label's, with float32 sums; it is 1 where neither result has the
label. Voxels that differ with float32 sums alone are nnU-Net's own rounding to half precision.
Written by `tests/parity/table.py` from a run of `tests/parity/test_end_to_end.py`.

How agreement is measured in general:

- Every part (resampling, patch starts, importance map, crop, normalisation, decoding) is compared
  with the upstream function on random shapes.
- Small random models of every kind (2-D, 3-D, residual, regions, two channels, masked and CT
  normalisation, transposed axes, torch resampling, legacy plans, several folds) run end to end,
  with and without mirroring.
- Trained checkpoints run on real images of several contrasts, orientations and sizes: the table.
- MONAI and ivadomed: [parity-families.md](parity-families.md). Official releases:
  [releases.md](releases.md). TotalSpineSeg's steps are compared with totalspineseg 20260807 one by
  one, and from image to file.

| model, folds, image | voxels | float16 sums | float32 | Dice |
| --- | ---: | ---: | ---: | ---: |
"""


def main() -> None:
    """Print the page."""
    rows, totals = [], [0, 0, 0]
    for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
        found = {item.get("name"): item.get("value") for item in case.iter("property")}
        if "voxels" not in found:
            continue
        name = case.get("name", "").partition("[")[2].rstrip("]")
        numbers = [int(found[k]) for k in ("voxels", "differing_float16", "differing_float32")]
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        cells = [name, *(f"{number:,}" for number in numbers), f"{float(found['dice']):.5f}"]
        rows.append(f"| {' | '.join(cells)} |")
    total = " | ".join(f"{number:,}" for number in totals)
    print(HEAD + "\n".join(rows) + f"\n| **all {len(rows)}** | {total} | |")


if __name__ == "__main__":
    main()
