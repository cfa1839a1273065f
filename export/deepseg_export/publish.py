"""Publishing bundles on the Hugging Face Hub, where ``deepseg-lite fetch`` finds them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from deepseg_export.errors import ExportError
from deepseg_lite.bundles.bundle import Bundle, read_bundle
from deepseg_lite.bundles.files import MANIFEST_NAME, check_listed
from deepseg_lite.store.arrival import CARD_NAME
from deepseg_lite.store.licenses import may_be_passed_on
from deepseg_lite.store.sources import ask_hub, hub_api

logger = logging.getLogger(__name__)


def publish(
    path: Path, repo: str, *, create: bool = False, branch: bool = False, check_license: bool = True
) -> str:
    """Upload a bundle as one commit; networks and references of its last release alone go.

    What else belongs to it is uploaded on its own, and named here.

    Parameters
    ----------
    path : Path
        Bundle directory.
    repo : str
        ``OWNER/NAME``. The token is found by huggingface_hub's own means.
    create : bool
        Make the repository if it is not there.
    branch : bool
        Put the files at the root of a branch of the bundle's name, not in a folder of that name.
    check_license : bool
        Refuse weights whose licence does not say that they may be passed on.

    Returns
    -------
    revision : str
        The commit, for ``deepseg-lite fetch --revision``.

    Raises
    ------
    ExportError
        If the licence forbids it or ``path`` is a lone file.
    BundleError
        If the bundle is invalid or a file of it was changed.
    NetworkError
        If the upload failed; the repository is as it was.
    """
    bundle = read_bundle(path)
    _check(bundle, check_license=check_license)
    api = hub_api()
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    revision, prefix = (bundle.name, "") if branch else ("main", f"{bundle.name}/")
    if create:
        ask_hub(repo, lambda: api.create_repo(repo, exist_ok=True))
    if branch:
        ask_hub(repo, lambda: api.create_branch(repo, branch=revision, exist_ok=True))
    info = ask_hub(repo, lambda: api.model_info(repo, revision=revision))
    present = {file.rfilename for file in info.siblings or ()}
    names = [MANIFEST_NAME, *(file.path for file in bundle.contents)]
    if (path / CARD_NAME).is_file():
        names.append(CARD_NAME)
    old = re.compile(re.escape(prefix) + r"([^/]*\.onnx|reference/[^/]*\.nii\.gz)")
    stale = [file for file in present if old.fullmatch(file)]
    operations = [
        *(CommitOperationAdd(prefix + name, path / name) for name in names),
        *(CommitOperationDelete(file) for file in stale if file.removeprefix(prefix) not in names),
    ]
    commit = ask_hub(
        repo,
        lambda: api.create_commit(
            repo,
            operations,
            commit_message=f"{bundle.name} {bundle.version}",
            revision=revision,
        ),
    )
    for companion in bundle.companions:
        logger.info("It needs %s, too: publish that bundle as well", companion)
    return str(commit.oid)


def _check(bundle: Bundle, *, check_license: bool) -> None:
    if bundle.lone_file:
        raise ExportError(
            f"{bundle.path} is a lone .onnx file; a bundle folder is needed: export without .onnx."
        )
    for file in bundle.contents:
        check_listed(bundle, file)
    text = bundle.manifest["source"]["license"]
    if check_license and not may_be_passed_on(text):
        raise ExportError(
            f"the licence of {bundle.name}'s weights is {text or 'not stated'}, which is not known "
            "to allow passing them on; ask their owner, then give --no-license-check."
        )
