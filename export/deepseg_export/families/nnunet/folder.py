"""nnU-Net's trained-model folders: where they are, which folds and checkpoints they hold."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from deepseg_export.errors import CheckpointError
from deepseg_export.families.nnunet.crop import CROP
from deepseg_export.families.nnunet.fingerprint import FINGERPRINT
from deepseg_lite.errors import OptionError

logger = logging.getLogger(__name__)

FINAL, BEST = "checkpoint_final.pth", "checkpoint_best.pth"
USUAL = (FINAL, BEST)
_FOLD = re.compile(r"fold_(\d+|all)")


def is_wanted(
    member: PurePosixPath, checkpoint: str | None = None, usual: Sequence[str] = USUAL
) -> bool:
    """Tell whether a file of an archive is one the export reads; see `select_checkpoints`."""
    if "__MACOSX" in member.parts:
        return False
    return member.name in ("plans.json", "dataset.json", FINGERPRINT, CROP) or (
        member.name in ((checkpoint,) if checkpoint else usual)
        and _FOLD.fullmatch(member.parent.name) is not None
    )


def find_model_folder(root: Path, given: str) -> Path:
    """Return the one trained-model folder that ``root`` is or holds, at any depth.

    Parameters
    ----------
    root : Path
        Folder to search; links are not followed.
    given : str
        What the user named, for messages.

    Raises
    ------
    CheckpointError
        If there is none, or more than one; the message lists what was found.
    """
    found, incomplete = [], []
    for name, folders, _ in os.walk(root):
        folder = Path(name)
        if not any(_FOLD.fullmatch(item) for item in folders):
            continue
        missing = [file for file in ("plans.json", "dataset.json") if not (folder / file).is_file()]
        if not missing:
            found.append(folder)
        else:
            incomplete.append(f"{_shown(folder, root)} lacks {' and '.join(missing)}")
        folders.clear()
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(sorted(_shown(folder, root) for folder in found))
        raise CheckpointError(f"{given} holds {len(found)} models: {listed}. Name one of them.")
    near = f" Found: {'; '.join(sorted(incomplete))}." if incomplete else ""
    raise CheckpointError(
        f"{given} holds no trained nnU-Net v2 model: a folder with plans.json, dataset.json and "
        f"fold_*/{FINAL} is needed.{near}"
    )


def _shown(folder: Path, root: Path) -> str:
    return folder.name if folder == root else folder.relative_to(root).as_posix()


def select_checkpoints(
    folder: Path,
    folds: Sequence[str] | None,
    checkpoint: str | None,
    usual: Sequence[str] = USUAL,
) -> dict[str, Path]:
    """Choose the checkpoint file of every fold to export.

    Parameters
    ----------
    folder : Path
        A trained-model folder.
    folds : sequence of str, optional
        Fold names. ``["all"]`` is nnU-Net's fold of that name where it exists, else every fold.
        By default the numbered folds, or fold ``all`` where there are none.
    checkpoint : str, optional
        File name; by default the first of ``usual`` that a fold has.
    usual : sequence of str
        File names, the preferred first.

    Returns
    -------
    checkpoints : dict
        Fold to file, in the order they are averaged.

    Raises
    ------
    CheckpointError
        If no fold has the checkpoint.
    OptionError
        If a fold is asked for that is not there.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``nnUNetPredictor.auto_detect_available_folds``, which leaves out
    ``fold_all``; the fallback to the best checkpoint is the Spinal Cord Toolbox's.
    """
    names = (checkpoint,) if checkpoint else tuple(usual)
    available = {}
    for fold_folder in sorted(folder.iterdir()):
        match = _FOLD.fullmatch(fold_folder.name)
        file = next((fold_folder / n for n in names if (fold_folder / n).is_file()), None)
        if match and file:
            available[match.group(1)] = file
    if not available:
        raise CheckpointError(f"{folder.name} has no fold with {' or '.join(names)}.")
    numbered = sorted((fold for fold in available if fold != "all"), key=int)
    everything = numbered + ["all"] * ("all" in available)
    if folds is None:
        chosen = numbered or ["all"]
    elif list(folds) == ["all"]:
        chosen = ["all"] if "all" in available else numbered
    else:
        chosen = list(dict.fromkeys(folds))
    unknown = [fold for fold in chosen if fold not in available]
    if unknown or not chosen:
        raise OptionError(
            f"{folder.name} has no fold {', '.join(unknown) or '(none given)'}; "
            f"it has {', '.join(everything)}."
        )
    for fold in chosen:
        if available[fold].name != names[0]:
            logger.warning("Fold %s has no %s; using %s", fold, names[0], available[fold].name)
    return {fold: available[fold] for fold in chosen}
