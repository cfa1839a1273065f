"""Command that makes the page of quality control, and lists what raters marked."""

from __future__ import annotations

import time
import webbrowser
from contextlib import suppress
from pathlib import Path

import click

from deepseg_lite.cli.console import say
from deepseg_lite.cli.files import FilePath
from deepseg_lite.text import printable


@click.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=FilePath())
@click.option(
    "--open", "is_opened", is_flag=True, help="Serve the page on this computer and open it."
)
@click.option("--fails", is_flag=True, help="List the images marked fail, as YAML.")
@click.option("--artifacts", is_flag=True, help="List the images marked artifact, as YAML.")
@click.option(
    "--marks",
    type=FilePath(),
    metavar="FILE",
    help="What the page saved. Default: marks.json in the first folder.",
)
@click.option(
    "--niivue",
    metavar="CASE",
    help="Write a page of one case in 3-D: an id, or a part of the path of its image.",
)
@click.option(
    "--niivue-script",
    type=FilePath(),
    metavar="FILE",
    envvar="DEEPSEG_LITE_NIIVUE",
    help="NiiVue for it, dist/niivue.umd.js of the npm package @niivue/niivue (also "
    "DEEPSEG_LITE_NIIVUE).",
)
def qc(
    folders: tuple[Path, ...],
    is_opened: bool,
    fails: bool,
    artifacts: bool,
    marks: Path | None,
    niivue: str | None,
    niivue_script: Path | None,
) -> None:
    """Make the page of a folder of quality control, FOLDER/index.html.

    Runs with --qc FOLDER fill the folder; the page may be made at any time. Entries of further
    folders are copied into the first. --fails and --artifacts list what raters marked in the page.
    """
    from deepseg_lite.qc.marks import ARTIFACT, FAIL, MARKS_FILE, list_files, read_marks
    from deepseg_lite.qc.report import build_page, read_entries

    if fails or artifacts:
        wanted = [mark for mark, is_asked in ((FAIL, fails), (ARTIFACT, artifacts)) if is_asked]
        entries = [entry for folder in folders for entry in read_entries(folder)]
        text = list_files(entries, read_marks(marks or folders[0] / MARKS_FILE), wanted)
        click.echo(text, nl=False)
        return
    if niivue is not None:
        say(printable(str(_page_of_case(niivue, folders, niivue_script))))
        return
    page = build_page(folders[0], folders[1:])
    say(printable(str(page)))
    if is_opened:
        from deepseg_lite.qc.serving import served

        with served(page.parent) as address, suppress(KeyboardInterrupt):
            url = f"{address}/{page.name}"
            click.echo(f"{url} (Ctrl-C ends it)", err=True)
            webbrowser.open(url)
            while True:
                time.sleep(3600)


def _page_of_case(case: str, folders: tuple[Path, ...], script: Path | None) -> Path:
    """Write the page of a case in 3-D into the first folder."""
    from deepseg_lite.errors import OptionError
    from deepseg_lite.qc.niivue import find_case, write_case
    from deepseg_lite.qc.report import read_entries

    if script is None:
        raise OptionError(
            "NiiVue is not part of deepseg-lite; get it with npm pack @niivue/niivue, unpack that, "
            "and give --niivue-script package/dist/niivue.umd.js."
        )
    entry = find_case([entry for folder in folders for entry in read_entries(folder)], case)
    return write_case(entry, folders[0], script)
