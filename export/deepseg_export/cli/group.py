"""The ``deepseg-export`` command."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from deepseg_export.cli import optimize, quantize, tasks
from deepseg_export.cli.options import (
    CONTEXT,
    PATH,
    Command,
    added_reference_options,
    model_options,
    output_options,
    prior_option,
    reference_options,
    run_options,
)
from deepseg_lite.cli.console import run_to_end
from deepseg_lite.errors import OptionError
from deepseg_lite.leftovers import ended_by_signals


def _version() -> str:
    try:
        return version("deepseg-lite")
    except PackageNotFoundError:
        return "unknown"


@click.group(context_settings=CONTEXT)
@click.version_option(_version(), prog_name="deepseg-export")
def cli() -> None:
    """Convert trained models into bundles that deepseg-lite runs without PyTorch."""


@cli.command(cls=Command, context_settings=CONTEXT)
@click.argument("model", type=PATH)
@output_options
@model_options
@prior_option
@click.option(
    "--prior-margin",
    type=float,
    metavar="MM",
    help="Crop the image to what it finds and so much on each side; 2-D networks keep all slices.",
)
@reference_options
@run_options
def nnunet(model: Path, output: Path, force: bool, verbose: bool, **choices: Any) -> None:
    """Convert an nnU-Net v2 model.

    MODEL is a trained-model folder (trainer__plans__configuration), a folder above exactly one
    such folder, or a zip of either.
    """
    _export("nnunet", model, output, choices, force)


@cli.command(cls=Command, context_settings=CONTEXT)
@click.argument("model", type=PATH)
@output_options
@prior_option
@reference_options
@run_options
def ivadomed(model: Path, output: Path, force: bool, verbose: bool, **choices: Any) -> None:
    """Convert an ivadomed model.

    MODEL is a folder with NAME.json and NAME.onnx or NAME.pt, a folder above exactly one such
    pair, or a zip of either.
    """
    _export("ivadomed", model, output, choices, force)


@cli.command(cls=Command, context_settings=CONTEXT)
@click.argument("model", type=PATH)
@output_options
@reference_options
@run_options
def keras(model: Path, output: Path, force: bool, verbose: bool, **choices: Any) -> None:
    """Convert a Keras 2 model; TensorFlow is not needed.

    MODEL is an HDF5 file with its architecture, or of SCT's gray-matter models (or their ONNX
    files). A JSON file beside it is read, too.
    """
    _export("keras", model, output, choices, force)


@cli.command("monai-ckpt", cls=Command, context_settings=CONTEXT)
@click.argument("model", type=PATH)
@click.option(
    "--sct",
    metavar="VERSION",
    help="Treat images as this version of the Spinal Cord Toolbox: 6.2, 6.3, 6.4 or 6.5. "
    "[default: the newest with this network]",
)
@click.option("--soft", is_flag=True, help="Leave the result a soft map.")
@output_options
@reference_options
@run_options
def monai_checkpoint(model: Path, output: Path, force: bool, verbose: bool, **choices: Any) -> None:
    """Convert a Lightning checkpoint of the contrast-agnostic cord model.

    MODEL is a .ckpt file, or a folder or zip with exactly one.
    """
    _export("monai", model, output, choices, force)


@cli.command(cls=Command, context_settings=CONTEXT)
@click.argument("bundle", type=PATH)
@output_options
@reference_options
@run_options
def monai_bundle(bundle: Path, output: Path, force: bool, verbose: bool, **choices: Any) -> None:
    """Convert a MONAI bundle.

    BUNDLE is its folder, with configs/inference.json and models/model.pt, a folder above exactly
    one, or a zip of either.
    """
    _export("monai-bundle", bundle, output, choices, force)


def _export(family: str, model: Path, output: Path, choices: dict[str, Any], force: bool) -> None:
    from deepseg_export.exporting import export_model
    from deepseg_export.families.table import FAMILIES
    from deepseg_export.references.request import Request

    names = [name for name in choices if name.startswith("reference_")]
    wanted = {name.removeprefix("reference_"): choices.pop(name) for name in names}
    if not wanted["images"] and any(wanted.values()):
        raise OptionError("--reference names the images, and is missing; give it.")
    reference = Request(**wanted) if wanted["images"] else None
    options = FAMILIES[family].options(**choices)
    click.echo(export_model(family, model, output, options, reference=reference, force=force))


@cli.command(cls=Command, context_settings=CONTEXT)
@click.argument("bundle", type=PATH)
@click.option(
    "--image",
    "images",
    multiple=True,
    required=True,
    metavar="IMAGE...",
    help="Images, as many for each case as the model has channels; or phantom, or phantom:SEED.",
)
@click.option(
    "--model",
    type=PATH,
    metavar="MODEL",
    help="Run the original software on this, the trained model that the bundle was made of.",
)
@added_reference_options
@click.option(
    "--date",
    metavar="YYYY-MM-DD",
    type=click.DateTime(["%Y-%m-%d"]),
    callback=lambda _, __, day: day and f"{day:%Y-%m-%d}",
    help="When the labels were made. [default: today]",
)
@click.option(
    "--keep",
    "kept",
    type=PATH,
    metavar="DIR",
    help="Keep the cases here as well. Of models/TASK/reference/RELEASE, deepseg-export task takes "
    "them for every export of the same files.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show a traceback with errors.")
def reference(
    bundle: Path, model: Path | None, kept: Path | None, verbose: bool, **choices: Any
) -> None:
    """Add reference cases to a bundle: images, and what the original software makes of them.

    deepseg-lite verify compares with them. Labels must come from the original software, never
    from deepseg-lite. The bundle's manifest changes, and so its hash.
    """
    from deepseg_export.references.request import Request
    from deepseg_export.referencing import add_references

    click.echo(add_references(bundle, Request(**choices), model, kept))


@cli.command(cls=Command, context_settings=CONTEXT)
@click.argument("bundle", type=PATH)
@click.option("--repo", required=True, metavar="OWNER/NAME", help="Repository to upload to.")
@click.option("--create", is_flag=True, help="Make the repository if it is not there.")
@click.option(
    "--branch", is_flag=True, help="Use a branch of the bundle's name. [default: a folder]"
)
@click.option(
    "--no-license-check",
    "check_license",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Upload weights whose licence is not known to allow it.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show a traceback with errors.")
def publish(bundle: Path, repo: str, verbose: bool, **choices: Any) -> None:
    """Upload a bundle to the Hugging Face Hub and print the commit.

    Log in first: hf auth login, or HF_TOKEN.
    """
    from deepseg_export.publish import publish
    from deepseg_lite.store.sources import quieten_hub

    quieten_hub()
    click.echo(publish(bundle, repo, **choices))


cli.add_command(tasks.task)
cli.add_command(tasks.export_everything)
cli.add_command(tasks.cord_detector)
cli.add_command(quantize.quantize)
cli.add_command(optimize.optimize)


def main() -> None:
    """Run the command line; errors end in one line and exit code 1."""
    with ended_by_signals():
        code = run_to_end(lambda: cli.main(prog_name="deepseg-export", standalone_mode=False))
    sys.exit(code)
