"""The ``deepseg-export`` command."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from deepseg_export import cli_tasks
from deepseg_export.cli_common import CONTEXT, PATH, Command, model_options, run_options


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
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="BUNDLE",
    type=PATH,
    help="Bundle directory to write; a name ending in .onnx gives one self-contained file.",
)
@click.option("--name", help="Name of the bundle. [default: the training data set's]")
@click.option("--release", default="1", show_default=True, help="Version of the model.")
@click.option("--license", metavar="TEXT", help="Licence of the weights.")
@click.option("--citation", metavar="TEXT", help="What to cite.")
@click.option("--url", "urls", multiple=True, help="Where the checkpoint comes from.")
@model_options
@run_options
def nnunet(model: Path, output: Path, force: bool, verbose: bool, **choices: Any) -> None:
    """Convert an nnU-Net v2 model.

    MODEL is a trained-model folder (trainer__plans__configuration), a folder above exactly one
    such folder, or a zip of either.
    """
    from deepseg_export.exporting import export_nnunet
    from deepseg_export.families.nnunet import Options

    click.echo(export_nnunet(model, output, Options(**choices), force=force))


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
    from deepseg_lite.sources import quieten_hub

    quieten_hub()
    click.echo(publish(bundle, repo, **choices))


cli.add_command(cli_tasks.task)
cli.add_command(cli_tasks.export_everything)
cli.add_command(cli_tasks.cord_detector)


def main() -> None:
    """Run the command line."""
    cli(prog_name="deepseg-export")


if __name__ == "__main__":
    main()
