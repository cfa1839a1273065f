"""Turn the results of the ivadomed and MONAI parity tests into docs/developers/parity-families.md.

pytest tests/parity/test_ivadomed.py tests/parity/test_monai.py -m parity --junitxml=families.xml
python tests/parity/families_table.py families.xml ... > docs/developers/parity-families.md
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree

HEAD = """# Agreement with ivadomed and MONAI

Small networks, made with ivadomed 2.9.10's and MONAI 1.6.1's own classes and saved as they save
them, on real images: what the original gives, run live, against `pipeline.segment` with the
exported manifest. A voxel differs when it is off by more than 0.001. The official weights could not
be reached. Written by `tests/parity/families_table.py` from a run of
`tests/parity/test_ivadomed.py` and `tests/parity/test_monai.py`. `onnx` and `pt` are the two forms
in which ivadomed publishes networks. The bar for masks and label maps is 1 voxel in 10,000.

| model | voxels, all maps | differing |
| --- | ---: | ---: |
"""


def main() -> None:
    """Print the page."""
    rows, totals = [], [0, 0]
    for case in (c for file in sys.argv[1:] for c in ElementTree.parse(file).iter("testcase")):
        found = {item.get("name"): item.get("value") for item in case.iter("property")}
        if "differing" not in found:
            continue
        family = case.get("classname", "").rpartition("test_")[2]
        name = case.get("name", "").partition("[")[2].rstrip("]")
        numbers = [int(found[key]) for key in ("voxels", "differing")]
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        rows.append(f"| {family} {name} | {' | '.join(f'{n:,}' for n in numbers)} |")
    total = " | ".join(f"{number:,}" for number in totals)
    print(HEAD + "\n".join(rows) + f"\n| **all {len(rows)}** | {total} |")


if __name__ == "__main__":
    main()
