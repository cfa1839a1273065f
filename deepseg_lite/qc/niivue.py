"""Page of one case in 3-D: an image, its results and NiiVue in a file of its own.

NiiVue is not part of this package: what its authors pack holds no licence texts, neither its own
nor those of what it includes. The user points to its script. Source: https://niivue.com, BSD-2.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import apply_affine

from deepseg_lite.atomic import write_files
from deepseg_lite.errors import OptionError, reason
from deepseg_lite.nifti.names import is_nifti_name
from deepseg_lite.nifti.reading import load_image, read_voxels
from deepseg_lite.notice import ignore
from deepseg_lite.qc.view import FOREGROUND

OPACITY = 0.5
MOST_BYTES = 300_000_000
"""Of all images of a case; browsers take no longer texts."""
MARK = b"NVImage"
"""What the script of NiiVue has in it."""


def find_case(entries: Sequence[Mapping[str, Any]], case: str) -> Mapping[str, Any]:
    """Return the entry that a user means, the newest of several on one image and task.

    Parameters
    ----------
    entries : sequence of mappings
        From `deepseg_lite.qc.report.read_entries`.
    case : str
        Id of an entry, or a part of the path of its image.

    Raises
    ------
    OptionError
        If there is none, or several images have that in their path.
    """
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for entry in sorted(entries, key=lambda each: str(each["id"])):
        path = f"{entry['path']}/{entry['inputFile']}"
        if entry["id"] == case or case in path:
            found[path, str(entry.get("task"))] = entry
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise OptionError(f"no result of an image has {case!r} in its path; give a part of one.")
    names = ", ".join(f"{path} ({task})" for path, task in list(found)[:3])
    raise OptionError(
        f"{len(found)} results have {case!r} in their path, such as {names}; give more of it, or "
        "the id of an entry."
    )


def write_case(entry: Mapping[str, Any], folder: Path, script: Path) -> Path:
    """Write the page of a case.

    Parameters
    ----------
    entry : mapping
        Of a folder of quality control; its image and results are read where it says.
    folder : Path
        Where the page goes.
    script : Path
        NiiVue as one script, ``dist/niivue.umd.js`` of its package.

    Returns
    -------
    page : Path

    Raises
    ------
    OptionError
        If the script is none of NiiVue, or an image is missing, too large or cannot be shown.
    OutputError
        If the page cannot be written.
    """
    code = _bytes_of(script)
    if MARK not in code or b"globalThis" not in code:
        raise OptionError(
            f"{script} is not NiiVue as one script; get it with npm pack @niivue/niivue, and give "
            "dist/niivue.umd.js of what that has."
        )
    image = Path(entry["path"]) / entry["inputFile"]
    results = [Path(name) for name in entry.get("results", ())]
    contents = {path: _bytes_of(path) for path in (image, *results)}
    size = sum(map(len, contents.values()))
    if size > MOST_BYTES:
        raise OptionError(
            f"the images of the case have {size / 1e6:.0f} MB, and a browser takes "
            f"{MOST_BYTES / 1e6:.0f}; open them with a viewer such as FSLeyes or ITK-SNAP."
        )
    structures = [each for each in entry.get("structures", ()) if each["color"]]
    layers = [_layer(path, place, structures, results) for place, path in enumerate(results)]
    volumes = [{"colormap": "gray", "opacity": 1}, *layers]
    shown = {
        "title": f"{entry['inputFile']} · {entry.get('task', '')}",
        "centre": _centre(results),
        "legend": [{"name": each["name"], "color": each["color"]} for each in structures],
        "volumes": [
            {**volume, "name": path.name, "base64": base64.b64encode(contents[path]).decode()}
            for volume, path in zip(volumes, (image, *results), strict=True)
        ],
    }
    template = files("deepseg_lite.qc").joinpath("niivue.html").read_text(encoding="utf-8")
    before, after = template.split("SCRIPT")
    before, between = before.split("CASE")
    data = json.dumps(shown).replace("<", "\\u003c")
    text = code.decode("utf-8", errors="replace").replace("</script", "<\\/script")
    page = folder / f"niivue_{entry['id']}.html"
    whole = "".join([before, data, between, text, after])
    write_files({page: whole.encode()}, overwrite=True, synced=False)
    return page


def _bytes_of(path: Path) -> bytes:
    """Return what a file has: a script, or an image that NiiVue reads."""
    if path.suffix != ".js" and not is_nifti_name(path):
        raise OptionError(f"{path} is not called .nii or .nii.gz, and cannot be shown in 3-D.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise OptionError(
            f"{path} cannot be read ({reason(error)}); run this where the image and its results "
            "are."
        ) from error


def _centre(results: Sequence[Path]) -> list[float] | None:
    """Return the point in mm of the results that is next to their middle; None of empty ones."""
    for path in results:
        image = load_image(path, ignore)
        mask = read_voxels(image, str(path), ignore) > FOREGROUND
        found = np.argwhere(mask.reshape(image.shape[:3]))
        if len(found):
            nearest = np.abs(found - found.mean(axis=0)).sum(axis=1).argmin()
            point: list[float] = apply_affine(image.affine, found[nearest]).tolist()
            return point
    return None


def _layer(
    path: Path, place: int, structures: Sequence[Mapping[str, Any]], results: Sequence[Path]
) -> dict[str, Any]:
    """Return how a result is shown: labels in the colours of the page, or probabilities."""
    if load_image(path, ignore).get_data_dtype().kind == "f" and "-manual" not in path.name:
        return {"colormap": "hot", "opacity": OPACITY}
    if len(results) == len(structures):
        structures = [{**structures[place], "value": 1}] if len(results) > 1 else structures
    values = [0, *(each["value"] for each in structures)]
    colors = [(0, 0, 0), *(bytes.fromhex(each["color"][1:]) for each in structures)]
    red, green, blue = (list(levels) for levels in zip(*colors, strict=True))
    labels = {
        **{"R": red, "G": green, "B": blue, "I": values},
        "A": [0, *[255] * len(structures)],
        "labels": ["", *(each["name"] for each in structures)],
    }
    return {"colormap": "gray", "opacity": OPACITY, "labels": labels}
