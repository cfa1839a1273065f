"""What a reader of a page has before the first command: images, data sets, models, an address.

The words after ``with`` in the mark of a block name them. Images are small phantoms, and models are
stand-ins on loopback: a page shows that its commands work, other tests what models give.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel as nib

from deepseg_lite.api.phantom import make_phantom
from deepseg_lite.store.tasks import list_tasks
from helpers.bundles import make_manifest, write_bundle
from helpers.detector import write_detector
from helpers.paths import MODELS
from helpers.plain_nnunet import write_plain_model
from helpers.spine import make_spine
from helpers.spine_bundles import NAMES, image_of, write_bundles

MIRROR = ".models"  # behind the name of the page's folder
SHAPE = (104, 100, 3)
SHIPPED = MODELS / "sc_gm_t2star" / "bundle"
BROWSER = """\
#!{python}
# Reads the page, and presses Ctrl-C.
import os, signal, sys, urllib.request
page = urllib.request.urlopen(sys.argv[1]).read()
os.kill(os.getppid(), signal.SIGINT if b"<html" in page else signal.SIGKILL)
"""
PIP = """\
#!{python}
# Installs nothing: says whether what a page installs is what the package offers.
import re, sys, tomllib
from pathlib import Path
offered = tomllib.loads(Path({project!r}).read_text("utf-8"))["project"]["optional-dependencies"]
asked = re.fullmatch(r"\\.\\[(.*)\\]", sys.argv[-1])
sys.exit(not (sys.argv[1:-1] == ["install"] and asked and set(asked[1].split(",")) <= {{*offered}}))
"""


def write_phantom(path: Path, seed: int = 0) -> None:
    """Write an image of a few slices."""
    drawn = make_phantom(seed, shape=SHAPE)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(drawn.image, drawn.affine), path)


def _data_set(folder: Path) -> None:
    for seed, subject in enumerate(("sub-01", "sub-02")):
        write_phantom(folder / subject / "anat" / f"{subject}_T2starw.nii.gz", seed)
    told = {"Name": "Small images", "BIDSVersion": "1.9.0"}
    (folder / "dataset_description.json").write_text(json.dumps(told), encoding="utf-8")


def _spine(path: Path) -> None:
    nib.save(image_of(make_spine(1, 8)), path)


def _model(path: Path) -> None:
    write_plain_model(path.parent)
    assert path.is_dir()


def _bundle(path: Path) -> None:
    from deepseg_export.cli.group import cli

    made = write_plain_model(path.parent / f"{path.name}.made")
    cli.main(["nnunet", str(made), "-o", str(path)], standalone_mode=False)


def _fetched(path: Path) -> None:
    """Put a model, and its other steps, where ``fetch`` would."""
    models = path.parent.with_name(f"{path.parent.name}{MIRROR}")
    for model in models.glob(f"{path.name}*"):
        shutil.copytree(model, Path(os.environ["DEEPSEG_LITE_HOME"]) / "bundles" / model.name)


def _weights(path: Path) -> None:
    from helpers.keras_models import write_gray_matter

    write_gray_matter(path)


def _receipt(path: Path) -> None:
    (receipt,) = (Path(os.environ["DEEPSEG_LITE_HOME"]) / "receipts").rglob("*.json")
    shutil.copy(receipt, path)


def _labels(path: Path) -> None:
    drawn = make_phantom(shape=SHAPE)
    nib.save(nib.Nifti1Image((drawn.labels > 0).astype("uint8"), drawn.affine), path)


def _gray_matter(path: Path) -> None:
    from deepseg_export.cli.group import cli

    made = Path(os.environ["DEEPSEG_LITE_HOME"]) / "bundles" / "gm_sct_large"
    if not made.exists():
        _weights(path.with_name("large_model.hdf5"))
        words = ["task", "gm_sct_large", "--from", str(path.with_name("large_model.hdf5"))]
        cli.main(words, standalone_mode=False)
    path.symlink_to(made)


WRITERS: dict[str, Callable[[Path], None]] = {
    "image": write_phantom,
    "mask": _labels,
    "spine": _spine,
    "data set": _data_set,
    "folder": Path.mkdir,
    "nnU-Net model": _model,
    "nnU-Net results": partial(write_plain_model, folds=("0", "1")),
    "Keras weights": _weights,
    "exported bundle": _bundle,
    "gray-matter bundle": _gray_matter,
    "shipped bundle": partial(shutil.copytree, SHIPPED),
    "receipt": _receipt,
    "fetched model": _fetched,
}


def write(words: str, folder: Path) -> None:
    """Write what a page needs: ``NAME``, an image, or ``KIND as NAME``."""
    kind, _, name = words.rpartition(" as ")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    WRITERS[kind or "image"](folder / name)


def write_programs(folder: Path, project: Path) -> None:
    """Write what takes the place of pip and of a browser."""
    for name, text in {"pip": PIP, "browser": BROWSER}.items():
        filled = text.format(python=sys.executable, project=str(project))
        (folder / name).write_text(filled, encoding="utf-8")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def mirror(folder: Path) -> Iterator[str]:
    """Serve a small stand-in for every model of the catalogue; give its address."""
    write_bundles(folder)
    write_detector(folder / "sc_crop", name="sc_crop")
    for task in list_tasks():
        for release in task.releases if task.name not in NAMES else ():
            newest = release is task.releases[0]
            name = task.bundle_name(None if newest else release.version)
            files = [{"suffix": each.suffix, "kind": each.kind} for each in release.outputs]
            outputs = {**make_manifest()["outputs"], "files": files}
            write_bundle(folder / name, name=name, version=release.version, outputs=outputs)
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
