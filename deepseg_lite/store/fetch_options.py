"""Options of fetching a bundle, each declared once."""

from __future__ import annotations

from typing import Annotated, TypedDict

from deepseg_lite.option import Option


class FetchOptions(TypedDict, total=False):
    """Options of fetching. Each is a keyword of `fetch` and a flag of ``deepseg-lite fetch``."""

    release: Annotated[
        str | None,
        Option("Release of the task's model. Default: the task's own.", metavar="R"),
    ]
    repo: Annotated[
        str | None,
        Option(
            "Repository on the Hugging Face Hub, with one folder or one branch per bundle. "
            "Default: DEEPSEG_LITE_REPO.",
            metavar="OWNER/NAME",
        ),
    ]
    revision: Annotated[
        str | None, Option("Branch, tag or commit of the repository.", metavar="REV")
    ]
    mirror: Annotated[
        str | None,
        Option(
            "HTTP(S) folder of bundles, tried after the repository. Default: DEEPSEG_LITE_MIRROR.",
            metavar="URL",
        ),
    ]
    sha256: Annotated[
        str | None,
        Option("SHA-256 that the bundle's manifest must have.", metavar="HEX"),
    ]
    repin: Annotated[
        bool,
        Option("Accept a manifest that is not the one that was fetched before.", default=False),
    ]
    force: Annotated[bool, Option("Fetch again what is here.", default=False)]
    offline: Annotated[
        bool, Option("Never use the network (or set DEEPSEG_LITE_OFFLINE=1).", default=False)
    ]
    yes: Annotated[
        bool,
        Option("Agree to the licence of an official release, whatever it is.", default=False),
    ]
