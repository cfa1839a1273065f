"""Turn the results of the release tests into docs/developers/releases.md.

pytest tests/parity/test_releases.py -m parity --junitxml=releases.xml
python tests/parity/releases_table.py releases.xml > docs/developers/releases.md
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.releases import nnunet_releases, variant_of

from deepseg_lite.bundles.task_file import Release, Task
from deepseg_lite.store.tasks import list_tasks

HEAD = """# What was shown for every release

**Shown on the real weights, the first of all:** `gm_sct_large` and `gm_sct_challenge` r20180205
(family keras). 0 voxels differ from SCT's own results on every image and edge case
(`tests/parity/test_keras.py`): [a published model, end to end](../users/published-model.md).

Of all others no official archive could be reached. So archives are made in the official layouts,
under their official names, with small networks of the same kind: downloaded from a server on
loopback, exported
by `deepseg-export task`, run by `deepseg-lite run`. Every file is compared with
what SCT's documented steps around `nnUNetPredictor` (nnunetv2 2.8.1) give, voxel by voxel.
Releases of MONAI and ivadomed models are in a table of their own, below.

- *float16*: voxels that differ when logits are added up in half precision, as nnU-Net does
  (`--accumulator float16`). *float32*: our default. A network with random weights (*random*) is
  undecided in many voxels, which half precision decides otherwise; one that was trained for some
  steps (*trained*) hardly is.
- What is in the column *not verified* only the official archive can tell; the catalogue's facts are
  compared with it at export, and it wins.

Written by `tests/parity/releases_table.py` from a run of `tests/parity/test_releases.py`.

| task, release | archives tried | network | voxels | float16 | float32 | not verified |
| --- | --- | --- | ---: | ---: | ---: | --- |
"""


OTHERS = """
## MONAI, ivadomed, Keras and TotalSpineSeg

Archives of these forms (a zip with or without a top folder such as NAME-TAG, `.onnx`, `.pt` or
`.ckpt` inside, one zip for each model of a cascade) are taken from the download to the bundle in
`tests/export/test_task.py`. What the bundles give is compared with ivadomed and MONAI for
networks of every kind, made with their own classes: [parity-families.md](parity-families.md).
TotalSpineSeg's two networks are taken the same way in `tests/export/test_spine.py`, and
compared with the original from image to file in `tests/parity/test_spine_end_to_end.py`.

| task, release | family | models | not verified |
| --- | --- | --- | --- |
"""


def main() -> None:
    """Print the page."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    options = []
    for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
        facts = {item.get("name", ""): item.get("value", "") for item in case.iter("property")}
        if "voxels" not in facts:
            continue
        name, _, key = case.get("name", "").rstrip("]").partition("[")
        if name == "test_options_equal_those_of_sct":
            options.append((key, facts))
        else:
            found[key].append(facts)
    print(HEAD + "\n".join(_row(task, release, found) for task, release in nnunet_releases()))
    print("\n## Options\n\n| release and options | voxels | float16 | float32 |")
    print("| --- | ---: | ---: | ---: |")
    for key, facts in options:
        print(f"| {key} | {' | '.join(_numbers([facts]))} |")
    print(OTHERS + "\n".join(_other_row(*pair) for pair in _other_releases()))
    print(
        "\n## In the catalogue, not exported yet\n\n| task | releases | why |\n| --- | --- | --- |"
    )
    for task in list_tasks():
        for reason in dict.fromkeys(r.obstacle for r in task.releases if r.obstacle):
            versions = ", ".join(r.version for r in task.releases if r.obstacle == reason)
            print(f"| {task.name} | {versions} | {reason} |")


def _row(task: Task, release: Release, found: dict[str, list[dict[str, str]]]) -> str:
    facts = found.get(f"{task.name}-{release.version}", [])
    stage, variant = release.stages[0], variant_of(task, release)
    kind = "residual" if variant.network.startswith("Residual") else "plain"
    weights = "trained" if facts and facts[0]["trained"] == "True" else "random"
    layout = [
        f"{len(stage.archives)} zips" if len(stage.archives) > 1 else "1 zip",
        f"in {variant.wrapper}" if variant.wrapper else "no top folder",
        f"fold {', '.join(stage.layout.folds or variant.folds)}"
        if len(stage.archives) == 1
        else "a fold each",
    ]
    layout += ["no nnUNetTrainer folder"] * (not variant.trainer_level)
    layout += ["legacy plans"] * variant.legacy + ["cropped"] * stage.crop
    layout += ["best checkpoint alone"] * (variant.checkpoints == ("checkpoint_best.pth",))
    network = f"{kind}, {'2-D' if stage.layout.configuration == '2d' else '3-D'}, {weights}"
    numbers = _numbers(facts) if facts else ["not run", "", ""]
    name = f"{task.name}, {release.version}"
    cells = [name, "; ".join(layout), network, *numbers, _unknown(task, release)]
    return f"| {' | '.join(cells)} |"


def _unknown(task: Task, release: Release) -> str:
    texts = [
        text.removeprefix(f"{release.version}: ")
        for text in task.unverified
        if release.version in text or not any(r.version in text for r in task.releases)
    ]
    return "; ".join(texts) or "the weights alone"


def _other_releases() -> list[tuple[Task, Release]]:
    return [
        (task, release)
        for task in list_tasks()
        for release in task.releases
        if release.obstacle is None
        and (release.stages[0].family != "nnunet" or release.workflow is not None)
    ]


def _other_row(task: Task, release: Release) -> str:
    models = ", then ".join(stage.model for stage in release.stages)
    family = release.stages[0].family
    name = f"{task.name}, {release.version}"
    return f"| {name} | {family} | {models} | {_unknown(task, release)} |"


def _numbers(facts: list[dict[str, str]]) -> list[str]:
    def total(end: str) -> int:
        return sum(int(n) for one in facts for key, n in one.items() if key.endswith(end))

    return [f"{total(end):,}" for end in ("voxels", "float16", "float32")]


if __name__ == "__main__":
    main()
