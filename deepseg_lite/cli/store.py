"""The commands that fill and empty the local cache. Heavy imports stay inside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepseg_lite.cli.console import progress_bar, report_error, say
from deepseg_lite.errors import DeepsegError, OptionError

if TYPE_CHECKING:
    from deepseg_lite.store.fetch import Installed


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--repo",
    metavar="OWNER/NAME",
    help="Repository on the Hugging Face Hub. Default: DEEPSEG_LITE_REPO.",
)
@click.option(
    "--release", metavar="R", help="Release of the task's model. Default: the task's own."
)
@click.option("--revision", metavar="REV", help="Branch, tag or commit of the repository.")
@click.option(
    "--mirror",
    metavar="URL",
    help="HTTP(S) folder of bundles, tried after --repo. Default: DEEPSEG_LITE_MIRROR.",
)
@click.option("--force", is_flag=True, help="Fetch again what is here.")
@click.option("--offline", is_flag=True, help="Never use the network (or set HF_HUB_OFFLINE=1).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report on stdout.")
@click.pass_context
def fetch(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    release: str | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Bring bundles into the local cache, and check those that are there.

    NAME is a task or the name of a bundle. Prints the folder of each.
    """
    from deepseg_lite.bundles.bundle import read_bundle
    from deepseg_lite.store.fetch import Installed, fetch
    from deepseg_lite.store.sources import quieten_hub

    quieten_hub()

    def bring(asked: str) -> dict[str, Any]:
        name, shipped = _bundle_of(asked, release)
        if shipped is not None:
            return _report(Installed(read_bundle(shipped), {"shipped": True}, fetched=False))
        with progress_bar(name) as progress:
            return _report(fetch(name, progress=progress, **choices))

    _each(ctx, names, bring, "path", as_json=as_json)


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--release", metavar="R", help="Release of the task's model.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report on stdout.")
@click.pass_context
def remove(
    ctx: click.Context, /, names: tuple[str, ...], release: str | None, as_json: bool
) -> None:
    """Remove bundles from the local cache; nothing outside it is touched.

    The bundles of a model's other steps go too, unless another bundle here needs them.
    """
    from deepseg_lite.store.fetch import remove

    def drop(asked: str) -> dict[str, Any]:
        freed = remove(_bundle_of(asked, release)[0])
        return {
            "name": next(iter(freed)),
            "freed": sum(freed.values()),
            "removed": list(freed),
            "text": "\n".join(f"{name}: {size / 1e6:.1f} MB freed" for name, size in freed.items()),
        }

    _each(ctx, names, drop, "text", as_json=as_json)


def _bundle_of(asked: str, release: str | None) -> tuple[str, Path | None]:
    """Return the name of a task's bundle, by name or alias, and where it is if it ships."""
    from deepseg_lite.store.tasks import find_task, installed_path

    task = find_task(asked)
    if task is None:
        if release is not None:
            raise OptionError(f"{asked} is no task, so it has no releases; leave --release out.")
        return asked, None
    if release is not None:
        task.release(release)
    ships = installed_path(task, release) == task.bundle_path
    return task.bundle_name(release), task.bundle_path if ships else None


def _report(installed: Installed) -> dict[str, Any]:
    bundle = installed.bundle
    return {
        "name": bundle.name,
        "version": bundle.version,
        "path": str(bundle.path),
        "size": bundle.size,
        "fetched": installed.fetched,
        "source": installed.source,
    }


def _each(
    ctx: click.Context,
    names: tuple[str, ...],
    action: Callable[[str], dict[str, Any]],
    shown: str,
    *,
    as_json: bool,
) -> None:
    """Do something for every name, going on after failures, which end in exit code 1."""
    results, errors = [], []
    for name in names:
        try:
            result = action(name)
        except DeepsegError as error:
            errors.append({"name": name, "error": report_error(error)})
            continue
        results.append(result)
        if not as_json:
            say(result[shown])
    if as_json:
        say(json.dumps({"results": results, "errors": errors}, indent=2))
    if errors:
        ctx.exit(1)
