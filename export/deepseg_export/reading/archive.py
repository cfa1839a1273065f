"""Model archives: untrusted zip files, unpacked into a temporary folder."""

from __future__ import annotations

import filecmp
import logging
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.limits import check_file
from deepseg_lite.leftovers import working_folder

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024**3
# Deflate cannot do better than about 1032; trained weights hardly compress at all.
MAX_RATIO = 20
MAX_MEMBERS = 100_000
MAX_DIRECTORY_BYTES = 16 * 1024**2
_RATIO_MATTERS_ABOVE = 64 * 1024**2
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


# The trained-model folder of nnU-Net is no wrapper, whatever else is beside it.
_KEPT_LEVEL = "nnUNetTrainer"


@contextmanager
def opened_model(
    sources: Sequence[Path], is_wanted: Callable[[PurePosixPath], bool]
) -> Iterator[Path]:
    """Give the folder of a model, unpacking zip files, and several onto one another.

    Parameters
    ----------
    sources : sequence of Path
        Folders, or zip files that nobody vouches for. Of several, later ones win.
    is_wanted : callable
        Which files to take, by their path in the archive.

    Yields
    ------
    folder : Path
        A single source that is a folder, or a temporary folder that is removed afterwards, by a
        later export where this one was killed.

    Raises
    ------
    CheckpointError
        If one is not there, or is damaged or hostile.

    Notes
    -----
    Source: the Spinal Cord Toolbox, which unwraps one top folder of an archive unless its name
    contains ``nnUNetTrainer``. A single archive is searched at any depth, so it stays as it is.
    """
    for source in sources:
        if not os.path.isdir(source):
            check_file(source, MAX_BYTES, "a model folder or a zip of one")
    if len(sources) == 1 and sources[0].is_dir():
        yield sources[0]
        return
    with working_folder(Path(tempfile.gettempdir())) as work:
        root = work / "model"
        root.mkdir()
        for source in sources:
            part = root if len(sources) == 1 else work / "part"
            try:
                part.mkdir(exist_ok=True)
                top = (_copy if source.is_dir() else _unpack)(source, part, is_wanted)
                if part != root:
                    _lay_over(part / top, root, source)
                    shutil.rmtree(part)
            except OSError as error:
                raise CheckpointError(f"{source} cannot be unpacked: {error}.") from error
        yield root


def check_zip(path: Path) -> None:
    """Read a zip file through without writing any of it.

    Raises
    ------
    CheckpointError
        If it is damaged or hostile.
    """
    with path.open("rb") as source, readable_zip(path, source) as archive:
        for member in checked_members(path, archive):
            with archive.open(member) as file:
                while file.read(1024**2):
                    pass


@contextmanager
def readable_zip(path: Path, file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Give an open file as a zip file; what is wrong with it becomes an error of one line.

    Raises
    ------
    CheckpointError
        If it is none, or damaged, encrypted or with too long a list of members.
    """
    try:
        size, start = _directory(file)
        if size > MAX_DIRECTORY_BYTES:
            raise CheckpointError(
                f"{path} lists its members in more than {MAX_DIRECTORY_BYTES} bytes; refused."
            )
        with zipfile.ZipFile(file) as archive:
            if archive.start_dir != start:
                raise CheckpointError(
                    f"{path} has bytes that belong to no member, in which other software may see "
                    "another archive; refused. Get it again."
                )
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path} is not a readable zip file ({_short(error)}); get it again."
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: encrypted
        raise CheckpointError(f"{path} cannot be unpacked: {_short(error)}.") from error


def _short(error: Exception) -> str:
    """Return the start of what an error says, which may quote the file at length."""
    return " ".join(str(error).split())[:120].rstrip(".")


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Return how long the list of members is, and where it starts, as the file itself says."""
    end: Any = zipfile._EndRecData(file)  # type: ignore[attr-defined] # what ZipFile asks, too
    if not end:
        raise zipfile.BadZipFile("it has no end")
    return end[zipfile._ECD_SIZE], end[zipfile._ECD_OFFSET]  # type: ignore[attr-defined]


def _unpack(path: Path, folder: Path, is_wanted: Callable[[PurePosixPath], bool]) -> str:
    """Unpack what is wanted; return the top folder to unwrap, or '.'."""
    with path.open("rb") as source, readable_zip(path, source) as archive:
        members = checked_members(path, archive)
        names = [PurePosixPath(item.filename) for item in members]
        chosen = [item for item, name in zip(members, names, strict=True) if is_wanted(name)]
        logger.info("Unpacking %d of %d files of %s", len(chosen), len(members), path.name)
        for member in chosen:
            _unpack_member(archive, member, folder)
    return _wrapper(names)


def _copy(source: Path, folder: Path, is_wanted: Callable[[PurePosixPath], bool]) -> str:
    """Copy what is wanted of a folder, to lay it onto others; return its top as for an archive."""
    level = source.name if _KEPT_LEVEL in source.name else ""
    names = []
    for place, _, files in os.walk(source):
        for file in (Path(place) / name for name in files):
            names.append(PurePosixPath(level, file.relative_to(source).as_posix()))
            if is_wanted(names[-1]):
                (folder / names[-1]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / names[-1])
    return _wrapper(names)


def _wrapper(names: Sequence[PurePosixPath]) -> str:
    """Return the one top folder that holds everything, or '.' when there is none to unwrap."""
    real = [name.parts for name in names if "__MACOSX" not in name.parts]
    tops = {parts[0] for parts in real}
    if len(tops) != 1 or min(map(len, real)) < 2 or _KEPT_LEVEL in min(tops):
        return "."
    return tops.pop()


def _lay_over(part: Path, root: Path, source: Path) -> None:
    """Move the files of one source to where those of all are."""
    for file in sorted(item for item in part.rglob("*") if item.is_file()):
        name = file.relative_to(part)
        target = root / name
        if target.is_file() and not filecmp.cmp(file, target, shallow=False):
            logger.warning(
                "%s has another %s than what came before; it is used", source.name, name.as_posix()
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)


def checked_members(
    path: Path,
    archive: zipfile.ZipFile,
    *,
    max_bytes: int = MAX_BYTES,
    max_ratio: int = MAX_RATIO,
) -> list[zipfile.ZipInfo]:
    """Return the files of an archive after refusing names, links and sizes that do harm."""
    members = [item for item in archive.infolist() if not item.is_dir()]
    if len(archive.infolist()) > MAX_MEMBERS:
        raise CheckpointError(f"{path} has more than {MAX_MEMBERS} members; refused.")
    if len(archive.NameToInfo) < len(archive.infolist()):
        raise CheckpointError(f"{path} holds two members of one name; refused.")
    for item in archive.infolist():
        name = item.filename
        parts = PurePosixPath(name).parts
        if name.startswith(("/", "\\")) or "\\" in name or ":" in name or ".." in parts:
            raise CheckpointError(f"{path} holds {name!r}, a path outside the archive; refused.")
        if stat.S_ISLNK(item.external_attr >> 16):
            raise CheckpointError(f"{path} holds {name!r}, a symbolic link; refused.")
        if item.compress_type not in _METHODS:
            raise CheckpointError(
                f"{path} holds {name!r}, packed in another way than stored or deflated; refused."
            )
    total = sum(item.file_size for item in members)
    if total > max_bytes:
        raise CheckpointError(
            f"{path} unpacks to {total} bytes, more than the {max_bytes} accepted; refused."
        )
    if total > max(_RATIO_MATTERS_ABOVE, max_ratio * path.stat().st_size):
        raise CheckpointError(
            f"{path} unpacks to {total} bytes, over {max_ratio} times its own size; refused."
        )
    return members


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member; `zipfile` stops at its declared size and checks its CRC."""
    target = folder.joinpath(*PurePosixPath(member.filename).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1024**2)
