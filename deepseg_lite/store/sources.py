"""Places elsewhere that have bundles: HTTP mirrors and repositories on the Hugging Face Hub.

The only importer of huggingface_hub.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deepseg_lite.bundles.files import MANIFEST_NAME, BundleFile
from deepseg_lite.errors import (
    BundleNotFoundError,
    ChecksumError,
    NetworkError,
    OptionError,
    OutputError,
)
from deepseg_lite.store.addresses import below, masked, mirror_address
from deepseg_lite.store.download import Progress, download, download_resumed, retry
from deepseg_lite.store.partial import receiving
from deepseg_lite.store.transfer import TRANSIENT

Result = TypeVar("Result")


@dataclass(frozen=True)
class Source:
    """One bundle elsewhere.

    ``get(file, path, limit)`` writes one of its files to ``path`` as `download` does, or raises
    FileNotFoundError. ``get_listed(listed, path, progress)`` does so with a file that the
    manifest lists; of a mirror it goes on where an earlier attempt at it ended. ``record`` says
    where that is, for people and for ``source.json``. ``is_here`` says that no room is needed.
    """

    record: Mapping[str, Any]
    get: Callable[[str, Path, int], None]
    get_listed: Callable[[BundleFile, Path, Progress], None]
    is_here: bool = False


@dataclass(frozen=True)
class Place:
    """Place with bundles: a repository, at a revision or its main branch, or else a mirror."""

    repo: str | None = None
    revision: str | None = None
    mirror: str | None = None

    def source(self, name: str) -> Source:
        """Return the bundle of that name there."""
        if self.repo is not None:
            return hub_source(self.repo, self.revision, name)
        return mirror_source(self.mirror or "", name)


def mirror_source(url: str, name: str) -> Source:
    """Return a bundle below the address of a mirror."""
    base = below(mirror_address(url), name)

    def get(file: str, path: Path, limit: int) -> None:
        download(below(base, file), path, limit=limit)

    def get_listed(listed: BundleFile, path: Path, progress: Progress) -> None:
        url, sha256 = below(base, listed.path), listed.sha256
        with receiving(sha256, path.parent) as folder:
            came = folder / "file"
            download_resumed(url, came, limit=listed.size, sha256=sha256, progress=progress)
            _move(came, path)

    return Source({"mirror": masked(url), "url": masked(base)}, get, get_listed)


def folder_source(folder: Path, record: Mapping[str, Any]) -> Source:
    """Return a bundle that was made in a folder on the cache's disk; its files are moved."""

    def get(file: str, path: Path, limit: int) -> None:
        came = folder / file
        if not came.is_file():
            raise FileNotFoundError(f"{folder.name}/{file}")
        if (size := came.stat().st_size) > limit:
            raise ChecksumError(
                f"{folder.name}/{file} has {size} bytes, more than the {limit} it should have."
            )
        _move(came, path)

    def get_listed(listed: BundleFile, path: Path, _: Progress) -> None:
        get(listed.path, path, listed.size)

    return Source(record, get, get_listed, is_here=True)


def hub_source(repo: str, revision: str | None, name: str) -> Source:
    """Find a bundle in a repository: the folder of its name, else its branch, else the root."""
    api = hub_api()

    def look(at: str | None) -> tuple[str, dict[str, int | None]]:
        info = ask_hub(repo, lambda: api.model_info(repo, revision=at, files_metadata=True))
        return info.sha, {file.rfilename: file.size for file in info.siblings or ()}

    commit, sizes = look(revision)
    folder = f"{name}/"
    if folder + MANIFEST_NAME not in sizes:
        folder = ""
        known = sorted(path.split("/")[0] for path in sizes if path.endswith(f"/{MANIFEST_NAME}"))
        if revision is None:
            with suppress(BundleNotFoundError):
                commit, sizes = look(name)
        if MANIFEST_NAME not in sizes:
            raise BundleNotFoundError(
                f"{repo} has no bundle {name} at {revision or 'its main branch'}, and no branch of "
                f"that name; bundles there: {', '.join(known) or 'none'}."
            )

    def get(file: str, path: Path, limit: int) -> None:
        remote = folder + file
        if remote not in sizes:
            raise FileNotFoundError(f"{repo}/{remote}")
        if (sizes[remote] or 0) > limit:
            raise ChecksumError(
                f"{repo}/{remote} has {sizes[remote]} bytes, more than the {limit} it should have; "
                "tell whoever keeps it."
            )
        depth = 1 + file.count("/")  # beside the bundle's folder
        local = ask_hub(
            repo,
            lambda: api.hf_hub_download(
                repo, remote, revision=commit, local_dir=path.parents[depth] / "hub"
            ),
        )
        _move(Path(local), path)

    # It draws bars of its own, and starts over after a failure.
    def get_listed(listed: BundleFile, path: Path, _: Progress) -> None:
        get(listed.path, path, listed.size)

    record = {
        "repo": repo,
        "url": masked(f"{api.endpoint}/{repo}"),
        "revision": commit,
        "asked_for": revision,
        "folder": folder,
    }
    return Source(record, get, get_listed)


def _move(came: Path, path: Path) -> None:
    if came != path:
        try:
            shutil.move(came, path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


def quieten_hub() -> None:
    """Let huggingface_hub log errors alone and draw on terminals alone; call before it is used."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def hub_api() -> Any:
    """Return huggingface_hub's client; it finds a token by its own means.

    Raises
    ------
    OptionError
        If huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise OptionError(
            'repositories need huggingface_hub: pip install "deepseg-lite[hub]". A public one can '
            "also be read as `mirror=https://huggingface.co/OWNER/NAME/resolve/main`."
        ) from error
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="deepseg-lite")


def ask_hub(repo: str, action: Callable[[], Result]) -> Result:
    """Return what a request to the hub returns; passing failures are tried again.

    Raises
    ------
    BundleNotFoundError
        If the repository or the revision is not there, or not for this user.
    NetworkError
        If it fails for another reason.
    OutputError
        If the disk is full.
    """
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def is_transient(error: Exception) -> bool:
        if getattr(error, "errno", None) == errno.ENOSPC:
            return False
        status = getattr(getattr(error, "response", None), "status_code", None)
        # huggingface_hub has tried for long when it says that there is no local entry.
        return status in TRANSIENT or (
            status is None and not isinstance(error, (LocalEntryNotFoundError, ValueError))
        )

    try:
        return retry(action, is_transient)
    except RevisionNotFoundError as error:
        raise BundleNotFoundError(f"{repo} has no such revision.") from error
    except RepositoryNotFoundError as error:
        raise BundleNotFoundError(
            f"the hub has no repository {repo}, or not for you; check the name, or log in: "
            "hf auth login."
        ) from error
    except HFValidationError as error:
        raise OptionError(f"{repo} is not a repository; OWNER/NAME is needed.") from error
    except Exception as error:  # several HTTP clients and a native one below, no common base
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise OutputError(f"the disk is full: {error}.") from error
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise NetworkError(
                f"the hub does not let you do this with {repo} ({status}); log in: hf auth login."
            ) from error
        reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        raise NetworkError(
            f"{repo} on the hub cannot be reached: {reason.rstrip('.')}. Check the network, or "
            "give `mirror`."
        ) from error
