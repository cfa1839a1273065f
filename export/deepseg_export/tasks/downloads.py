"""Files of official releases: from the network with all its faults, or from a folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from deepseg_export.errors import CheckpointError
from deepseg_lite.errors import ChecksumError, DeepsegError, NetworkError
from deepseg_lite.store.addresses import below, masked, mirror_address
from deepseg_lite.store.download import discard, download_resumed, network_forbidden, record_of

logger = logging.getLogger(__name__)

MAX_BYTES = 8 * 1024**3

Progress = Callable[[str], AbstractContextManager["Callable[[int, int], None] | None"]]
"""Given the name of a file, a context with a hook for bytes received and bytes in all, or None."""


@dataclass(frozen=True)
class Received:
    """A file on this machine, and the address it came from, without secrets."""

    path: Path
    url: str


def file_name(urls: Sequence[str]) -> str:
    """Return the official name of a file: that of its first address."""
    return PurePosixPath(unquote(urlsplit(urls[0]).path)).name


def silent(_name: str) -> AbstractContextManager[None]:
    """Give no hook."""
    return nullcontext()


def obtain(
    folder: Path,
    urls: Sequence[str],
    check: Callable[[Path], None],
    *,
    mirror: str | None = None,
    offline: bool = False,
    max_bytes: int = MAX_BYTES,
    progress: Progress = silent,
) -> Received:
    """Have a file: the one that is there, else from its mirrors in turn.

    Parameters
    ----------
    folder : Path
        Where it is kept, also while it is not complete.
    urls : sequence of str
        Its addresses; the first names it.
    check : callable
        Raises a DeepsegError for a file that is not what it should be. It is removed then.
    mirror : str, optional
        Address of a folder with a file of the same name, tried first.
    offline : bool
        Never use the network; ``HF_HUB_OFFLINE=1`` does the same.
    max_bytes : int
        Size that is accepted.
    progress : callable, optional
        Shows how far a download is.

    Raises
    ------
    NetworkError
        If no address gives it, or the network is not to be used.
    OutputError
        If it cannot be written, or the disk is too full.
    """
    name = file_name(urls)
    path = folder / name
    if path.is_file():
        return Received(path, record_of(path).get("url", urls[0]))
    if network_forbidden(offline=offline):
        raise NetworkError(
            f"downloading {name} needs the network, which --offline or HF_HUB_OFFLINE forbids; "
            f"put it into {folder}, give --from, or allow the network."
        )
    places = [below(mirror_address(mirror), name)] if mirror else []
    failures = []
    for url in (*places, *urls):
        logger.info("Downloading %s", masked(url))
        try:
            with progress(name) as advance:
                download_resumed(url, path, limit=max_bytes, progress=advance)
            try:
                check(path)
            except DeepsegError:
                discard(path)
                raise
        except FileNotFoundError as error:
            failures.append(f"{masked(error)} does not exist.")
        except (ChecksumError, NetworkError, CheckpointError) as error:
            failures.append(str(error))
        else:
            return Received(path, masked(url))
    raise NetworkError(f"{name} cannot be had. {' '.join(failures)}")


def find_local(folders: Sequence[Path], archives: Sequence[Sequence[str]]) -> list[Path] | None:
    """Return the archives of a release in the first folder that has one of them; else None.

    Raises
    ------
    CheckpointError
        If only some of them are there.
    """
    names = [file_name(urls) for urls in archives]
    for folder in folders:
        missing = [name for name in names if not (folder / name).is_file()]
        if not missing and names:
            return [folder / name for name in names]
        if len(missing) < len(names):
            raise CheckpointError(
                f"{folder} has only some archives of the release; {', '.join(missing)} missing."
            )
    return None
