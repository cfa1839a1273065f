"""The ``deepseg-export`` command."""

from __future__ import annotations

import logging
import sys
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from deepseg_lite.errors import DeepsegError

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Command(click.Command):
    """A command that turns our errors into one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        handler, logger = logging.StreamHandler(sys.stderr), logging.getLogger("deepseg_export")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            return super().invoke(ctx)
        except DeepsegError as error:
            if ctx.params.get("verbose"):
                traceback.print_exc()
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)
        finally:
            logger.removeHandler(handler)


def _version() -> str:
    try:
        return version("deepseg-lite")
    except PackageNotFoundError:
        return "unknown"


def _folds(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> list[str] | None:
    return None if value is None else [fold.strip() for fold in value.split(",") if fold.strip()]


@click.group(context_settings=_CONTEXT)
@click.version_option(_version(), prog_name="deepseg-export")
def cli() -> None:
    """Convert trained models into bundles that deepseg-lite runs without PyTorch."""


@cli.command(cls=_Command, context_settings=_CONTEXT)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="BUNDLE",
    type=click.Path(path_type=Path),
    help="Bundle directory to write; a name ending in .onnx gives one self-contained file.",
)
@click.option(
    "--folds",
    metavar="LIST",
    callback=_folds,
    help="Folds, such as 0,1. 'all' is the fold of that name where there is one, else every fold. "
    "[default: the numbered folds, else fold 'all']",
)
@click.option(
    "--checkpoint",
    metavar="FILE",
    help="Checkpoint of each fold. [default: checkpoint_final.pth, else checkpoint_best.pth]",
)
@click.option("--name", help="Name of the bundle. [default: the training data set's]")
@click.option("--release", default="1", show_default=True, help="Version of the model.")
@click.option("--license", metavar="TEXT", help="Licence of the weights.")
@click.option("--citation", metavar="TEXT", help="What to cite.")
@click.option("--url", help="Where the checkpoint comes from.")
@click.option(
    "--orientation",
    metavar="CODES",
    help="Axis codes of the training images (nibabel's convention, such as RAS), or 'file' to keep "
    "each image's own. [default: image_orientation of dataset.json, else as the Spinal Cord "
    "Toolbox]",
)
@click.option(
    "--trust-checkpoint", is_flag=True, help="Let the checkpoint run code of its own when loaded."
)
@click.option("--force", is_flag=True, help="Replace the bundle that is there.")
@click.option("-v", "--verbose", is_flag=True, help="Show a traceback with errors.")
def nnunet(model: Path, output: Path, force: bool, verbose: bool, **choices: Any) -> None:
    """Convert an nnU-Net v2 model.

    MODEL is a trained-model folder (trainer__plans__configuration), a folder above exactly one
    such folder, or a zip of either.
    """
    from deepseg_export.exporting import export_nnunet
    from deepseg_export.families.nnunet import Options

    click.echo(export_nnunet(model, output, Options(**choices), force=force))


@cli.command(cls=_Command, context_settings=_CONTEXT)
@click.argument("bundle", type=click.Path(path_type=Path))
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
    from deepseg_lite.sources import quieten_hub

    quieten_hub()
    click.echo(publish(bundle, repo, **choices))


def main() -> None:
    """Run the command line."""
    cli(prog_name="deepseg-export")


if __name__ == "__main__":
    main()
