"""The command that writes arrays for other implementations. Heavy imports stay inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from deepseg_lite.api.load_options import LoadOptions, ModelOptions
from deepseg_lite.cli.console import say, set_logging
from deepseg_lite.cli.files import FilePath, ModelName
from deepseg_lite.cli.options import given_of, options_of
from deepseg_lite.text import printable


def _conformance(
    *,
    task_or_bundle: str,
    output: Path,
    images: tuple[Path, ...],
    overwrite: bool,
    **given: Any,
) -> None:
    """Write the arrays of a run at each step, for other languages.

    FOLDER gets .npy files in the order of the steps, from the image as it is read to the result on
    its grid, and kit.json, which says what each is. The image is that of the bundle's first
    reference case.
    """
    import json

    from deepseg_lite.api.loader import load
    from deepseg_lite.api.segmenter import Segmenter
    from deepseg_lite.atomic import make_folder, write_files
    from deepseg_lite.nifti.reading import load_image
    from deepseg_lite.verification.cases import open_case
    from deepseg_lite.verification.conformance import KIT_NAME, check_conformance, make_kit
    from deepseg_lite.verification.receipt import check_references

    set_logging(0, quiet=False)
    options = cast("LoadOptions", {**given_of(ModelOptions, given), "open_networks": False})
    model = load(task_or_bundle, **options)
    check_conformance(model.bundle)
    assert isinstance(model, Segmenter)  # a workflow was refused
    if images:
        model.check_channel_count(len(images))
        opened = tuple(load_image(image) for image in images)
    else:
        check_references(model.bundle)
        opened = open_case(model.bundle, model.bundle.references[0]).images
    files, document = make_kit(model, opened)
    files[KIT_NAME] = (json.dumps(document, indent=2) + "\n").encode()
    make_folder(output)
    write_files({output / name: content for name, content in files.items()}, overwrite=overwrite)
    say(printable(output))


conformance = click.Command(
    "conformance",
    callback=_conformance,
    help=_conformance.__doc__,
    params=[
        click.Argument(["task_or_bundle"], type=ModelName()),
        click.Option(
            ["-o", "--output"], type=FilePath(), required=True, metavar="FOLDER", help="Where to."
        ),
        click.Option(
            ["images", "-i", "--image"],
            multiple=True,
            type=FilePath(),
            metavar="IMAGE",
            help="NIfTI image in place of the reference's; repeat for several channels.",
        ),
        click.Option(["--overwrite"], is_flag=True, help="Replace files that are there."),
        *options_of(ModelOptions),
    ],
)
