"""The command line. Heavy imports stay inside the commands, so help is instant."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from deepseg_lite.cli import store
from deepseg_lite.cli.batch import BatchCommand, batch
from deepseg_lite.cli.bench import bench
from deepseg_lite.cli.completion import completion
from deepseg_lite.cli.conformance import conformance
from deepseg_lite.cli.console import run_to_end, say, show_tracebacks
from deepseg_lite.cli.doctor import doctor
from deepseg_lite.cli.files import FilePath, ModelName
from deepseg_lite.cli.kit import pack, unpack
from deepseg_lite.cli.options import RunCommand
from deepseg_lite.cli.plan import plan
from deepseg_lite.cli.qc import qc
from deepseg_lite.cli.run import run
from deepseg_lite.cli.sct import REFUSED
from deepseg_lite.cli.spelling import SpellingError, check_words, is_option
from deepseg_lite.cli.verify import verify
from deepseg_lite.errors import DeepsegError
from deepseg_lite.leftovers import ended_by_signals
from deepseg_lite.text import printable, shown

_VERBOSE = f"{__name__}.verbose"


class _Commands(click.Group):
    """Group of commands that knows what is meant where a command is missing or misspelled."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the command."""
        if args and is_option(args[0]) and not ctx.resilient_parsing:
            try:
                check_words(args[:1], self.get_params(ctx), REFUSED)
            except SpellingError as error:
                word, hint = args[0], str(error)
                if word in REFUSED:
                    hint = f"{word} is SCT's: {REFUSED[word]}."
                elif any(given in ("-i", "--image", "-task") for given in args):
                    hint = f"a command is missing before {word}; {_TO_SEGMENT}."
                ctx.fail(hint)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and refuse words that cannot be meant."""
        if ctx.resilient_parsing:  # a shell asks how a word may go on
            return super().resolve_command(ctx, args)
        name, *words = args
        command = self.get_command(ctx, name)
        if command is None and _is_for_run(name, words):
            ctx.fail(f"there is no command {shown(name)}; {_TO_SEGMENT}.")
        if command is not None and not isinstance(command, RunCommand | BatchCommand):
            try:
                check_words(words, command.get_params(ctx))
            except SpellingError as error:
                raise click.UsageError(
                    str(error), click.Context(command, parent=ctx, info_name=name)
                ) from None
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands first, by what they are for, each in a line."""
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                for name in names:
                    text = self.commands[name].get_short_help_str(_LINE)
                    formatter.write(f"  {name:<10}  {text}\n")
        click.Command.format_options(self, ctx, formatter)


_LINE = 66  # what is left of 80 beside the names
_SECTIONS = {
    "Images": ("run", "batch", "qc", "plan", "phantom"),
    "Models": ("list", "info", "fetch", "lock", "remove", "pack", "unpack"),
    "This machine": ("verify", "bench", "doctor", "completion"),
    "Other programs": ("conformance",),
}
_TO_SEGMENT = "images are segmented by deepseg-lite run TASK -i IMAGE"


def _is_for_run(name: str, words: Sequence[str]) -> bool:
    """Return whether what is in the place of a command is a model, an image or their option."""
    from deepseg_lite.store.tasks import find_task

    return (
        any(word in ("-i", "--image") for word in words)
        or os.path.exists(name)
        or find_task(name) is not None
    )


def _debug_option() -> click.Option:
    """Return the option that every command has."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=lambda _, __, value: show_tracebacks() if value else None,
        help="Show where in the program an error comes from.",
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    is_eager=True,  # before --version, wherever it stands
    expose_value=False,
    callback=lambda ctx, _, value: ctx.meta.update({_VERBOSE: value}),
    help="With --version: show what a bug report needs.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, _, value: _answer_version(ctx, is_asked=value),
    help="Show the versions of the package and of what runs networks.",
)
def cli() -> None:
    """Segment spinal-cord MRI on ONNX Runtime, without PyTorch.

    For research, not a medical device. First steps:

    \b
    deepseg-lite phantom phantom.nii.gz              # an image to try
    deepseg-lite run sc_gm_t2star -i phantom.nii.gz  # phantom_seg.nii.gz
    deepseg-lite list                                # the other tasks
    """  # noqa: D301


def _answer_version(ctx: click.Context, *, is_asked: bool) -> None:
    """Print the versions, or refuse ``-v`` without ``--version``."""
    if ctx.resilient_parsing:
        return
    if not is_asked:
        if ctx.meta[_VERBOSE]:
            raise click.UsageError("-v goes with --version, or behind a command that has it.", ctx)
        return
    from importlib.metadata import version

    engines = ", ".join(f"{name} {version(name)}" for name in _engine_packages())
    say(f"deepseg-lite {version('deepseg-lite')} ({engines or 'nothing to run networks'})")
    if ctx.meta[_VERBOSE]:
        for name, text in _circumstances().items():
            say(f"{name + ':':<12}{text}")
    ctx.exit()


def _engine_packages() -> list[str]:
    """Return the names of the installed packages that run networks."""
    from importlib.metadata import distributions

    # ONNX Runtime has a package for each kind of device, more than are known here.
    names = {str(distribution.name) for distribution in distributions()}
    return sorted(name for name in names if name == "openvino" or name.startswith("onnxruntime"))


def _circumstances() -> dict[str, str]:
    """Return what a bug report needs of this machine and this installation."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from deepseg_lite.engines.engine import choose_engine
    from deepseg_lite.engines.names import DEVICES
    from deepseg_lite.machine import describe_machine
    from deepseg_lite.store.cache import home

    def version_of(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"no {package}"

    def is_usable(device: str) -> bool:
        try:
            choose_engine(device)
        except DeepsegError:
            return False
        return True

    machine = describe_machine()
    packages = ("numpy", "scipy", "nibabel", *_engine_packages(), "huggingface_hub")
    return {
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": machine.system,
        "processor": machine.cpu,
        "CPUs": f"{machine.cores} usable",
        "memory": f"{machine.memory / 2**30:.1f} GiB" if machine.memory else "not known",
        "GPUs": ", ".join(machine.gpus) or "none of NVIDIA's",
        "packages": ", ".join(map(version_of, packages)),
        "engines": ", ".join(filter(is_usable, DEVICES[1:])) or "none",
        "cache": str(home()),
    }


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the tasks, and where each stands on this machine."""
    from deepseg_lite.store import catalogue
    from deepseg_lite.store.tasks import list_tasks

    tasks = list_tasks()
    if as_json:
        say(json.dumps([catalogue.row(task) for task in tasks], indent=2))
    else:
        say(catalogue.listing(tasks))


@cli.command(short_help="Show what a task needs and gives, its licence, what to cite.")
@click.argument("task_or_bundle", type=ModelName())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--bibtex", "as_bibtex", is_flag=True, help="Print what to cite, as BibTeX.")
def info(task_or_bundle: str, as_json: bool, as_bibtex: bool) -> None:
    """Show what a task or a bundle needs, gives, weighs and may be used for."""
    from deepseg_lite.store import catalogue

    if as_json and as_bibtex:
        raise click.UsageError("--bibtex and --json are two forms; give one of them.")
    bundle, task = catalogue.look_up(task_or_bundle)
    if as_bibtex:
        from deepseg_lite.bundles.citation import bibtex, references_of, software

        say(bibtex([*references_of(bundle, task), software()]).rstrip())
        return
    facts = catalogue.describe(bundle, task)
    if as_json:
        whole = {
            "task": catalogue.document(task) if task else None,
            "manifest": bundle.manifest if bundle else None,
        }
        say(json.dumps({**facts, **whole}, indent=2))
    else:
        say(catalogue.facts_in_words(facts))


@cli.command(short_help="Write a synthetic image, to try a model without any MRI.")
@click.argument("out", type=FilePath())
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Another seed gives another phantom.",
)
@click.option(
    "--labels",
    type=FilePath(),
    metavar="FILE",
    help="Also write the true labels: 1 white, 2 gray matter.",
)
@click.option(
    "--shape",
    type=(click.IntRange(min=1),) * 3,
    default=(256, 256, 12),
    show_default=True,
    metavar="X Y Z",
    help="Voxels, each 0.6 x 0.6 x 3 mm. The cord is another one with another number of slices.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def phantom(
    out: Path, seed: int, labels: Path | None, shape: tuple[int, int, int], overwrite: bool
) -> None:
    """Write a synthetic axial T2*-weighted volume, to try a model without any MRI."""
    from deepseg_lite.api.phantom_files import write_phantom

    for path in write_phantom(out, seed, labels, shape=shape, overwrite=overwrite):
        say(printable(path))


_MODELS = (store.fetch, store.lock, store.remove, pack, unpack)
_PROOFS = (bench, verify, conformance, doctor)
for _command in (run, batch, plan, qc, *_MODELS, *_PROOFS, completion):
    cli.add_command(_command)
for _command in cli.commands.values():
    _command.params.append(_debug_option())


def main() -> None:
    """Run the command line; errors end in one line and exit code 1."""
    with ended_by_signals():
        code = run_to_end(lambda: cli.main(prog_name="deepseg-lite", standalone_mode=False))
    sys.exit(code)
