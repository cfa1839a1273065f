"""The commands that fill and empty the local cache. Heavy imports stay inside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from deepseg_lite.cli import suggestions
from deepseg_lite.cli.console import bars, is_answered, report_error, say, set_logging
from deepseg_lite.cli.options import options_of
from deepseg_lite.errors import DeepsegError
from deepseg_lite.store.fetch_options import FetchOptions
from deepseg_lite.text import printable

if TYPE_CHECKING:
    from deepseg_lite.store.arrival import Arrival
    from deepseg_lite.store.installed import Installed


def _fetch(*, names: tuple[str, ...], as_json: bool, **choices: Any) -> None:
    """Bring models into the local cache, and check those that are there.

    NAME is a task or the name of a bundle; without any, all that deepseg-lite.lock lists. Where no
    repository and no mirror is given, the official release is downloaded and converted. Prints the
    folder of each.
    """
    from deepseg_lite.store.fetch import fetch
    from deepseg_lite.store.lock import find_lock
    from deepseg_lite.store.sources import quieten_hub

    ctx = click.get_current_context()
    set_logging(0, quiet=False)
    quieten_hub()
    lock = None if names else find_lock()
    names = names or tuple(lock.bundles if lock else ())
    if not names:
        raise click.UsageError("NAME is needed, or a deepseg-lite.lock that lists some.", ctx)
    if choices["sha256"] and len(names) > 1:
        raise click.UsageError("--sha256 is of one bundle; give one NAME with it.", ctx)

    def bring(asked: str) -> dict[str, Any]:
        given = cast("FetchOptions", choices)
        with bars(asked) as (begins, progress):
            brought = fetch(
                asked,
                progress=progress,
                listed=_list_companions,
                begins=begins,
                confirm=_confirm if is_answered() else None,
                **given,
            )
        return _report(brought)

    _each(ctx, names, bring, "path", as_json=as_json)


fetch = click.Command(
    "fetch",
    callback=_fetch,
    help=_fetch.__doc__,
    params=[
        click.Argument(["names"], metavar="[NAME]...", nargs=-1, shell_complete=suggestions.models),
        *options_of(FetchOptions),
        click.Option(["as_json", "--json"], is_flag=True, help="Print a JSON report on stdout."),
    ],
)


def _confirm(question: str) -> bool:
    return click.confirm(printable(question), err=True)


def _list_companions(arrivals: Sequence[Arrival]) -> None:
    """Say what comes, and how much of it, where it is more than what was asked for."""
    for arrival in arrivals if len(arrivals) > 1 else ():
        bundle, url = arrival.bundle, arrival.source.record["url"]
        click.echo(f"{bundle.name} {bundle.version}: {bundle.size / 1e6:.1f} MB, {url}", err=True)


@click.command(short_help="Lock the models of a study, in deepseg-lite.lock.")
@click.argument("names", metavar="[TASK]...", nargs=-1, shell_complete=suggestions.models)
def lock(names: tuple[str, ...]) -> None:
    """Lock the models of a study: write deepseg-lite.lock in the working folder.

    TASK is a task or a bundle that is here, put beside what the file lists; without any, it lists
    all that is here. From then on fetch, run and Python refuse other models there and in the
    folders below. DEEPSEG_LITE_LOCK names another file, or is off.
    """
    from deepseg_lite.store.locking import write_lock

    written = write_lock(names)
    for name, entry in written.bundles.items():
        say(f"{name} {entry['version']} {entry['manifest_sha256']}")


@click.command(short_help="Remove models from the local cache.")
@click.argument(
    "names", metavar="NAME...", nargs=-1, required=True, shell_complete=suggestions.bundles
)
@click.option("--release", metavar="R", help="Release of the task's model.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report on stdout.")
@click.pass_context
def remove(
    ctx: click.Context, /, names: tuple[str, ...], release: str | None, as_json: bool
) -> None:
    """Remove bundles from the local cache; nothing outside it is touched.

    The bundles of a model's other steps go too, unless another bundle here needs them.
    """
    from deepseg_lite.store.installed import remove
    from deepseg_lite.store.tasks import bundle_of

    def drop(asked: str) -> dict[str, Any]:
        freed = remove(bundle_of(asked, release)[0])
        return {
            "name": next(iter(freed)),
            "freed": sum(freed.values()),
            "removed": list(freed),
            "text": "\n".join(f"{name}: {size / 1e6:.1f} MB freed" for name, size in freed.items()),
        }

    _each(ctx, names, drop, "text", as_json=as_json)


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
