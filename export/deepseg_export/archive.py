"""Model archives: untrusted zip files, unpacked into a temporary folder."""

from __future__ import annotations

import logging
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from deepseg_export.errors import CheckpointError

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024**3
# Deflate cannot do better than about 1032; trained weights hardly compress at all.
MAX_RATIO = 200
_RATIO_MATTERS_ABOVE = 64 * 1024**2


@contextmanager
def opened_model(path: Path, is_wanted: Callable[[PurePosixPath], bool]) -> Iterator[Path]:
    """Give the folder of a model, unpacking it first when it is a zip file.

    Parameters
    ----------
    path : Path
        A folder, or a zip file that nobody vouches for.
    is_wanted : callable
        Which members to unpack, by their path in the archive.

    Yields
    ------
    folder : Path
        ``path`` itself, or a temporary folder that is removed afterwards.

    Raises
    ------
    CheckpointError
        If there is neither, or the archive is damaged or hostile.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; a model folder or a zip of one is needed.")
    with tempfile.TemporaryDirectory(prefix="deepseg-export-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                members = _checked_members(path, archive)
                wanted = [item for item in members if is_wanted(PurePosixPath(item.filename))]
                logger.info("Unpacking %d of %d files", len(wanted), len(members))
                for member in wanted:
                    _unpack(archive, member, Path(folder))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise CheckpointError(
                f"{path} is not a readable zip file ({error}); get it again."
            ) from error
        except (OSError, RuntimeError) as error:  # RuntimeError: encrypted
            raise CheckpointError(f"{path} cannot be unpacked: {error}.") from error
        yield Path(folder)


def _checked_members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of an archive after refusing names, links and sizes that do harm."""
    members = [item for item in archive.infolist() if not item.is_dir()]
    for item in archive.infolist():
        name = item.filename
        parts = PurePosixPath(name).parts
        if name.startswith(("/", "\\")) or "\\" in name or ":" in name or ".." in parts:
            raise CheckpointError(f"{path} holds {name!r}, a path outside the archive; refused.")
        if stat.S_ISLNK(item.external_attr >> 16):
            raise CheckpointError(f"{path} holds {name!r}, a symbolic link; refused.")
    total = sum(item.file_size for item in members)
    if total > MAX_BYTES:
        raise CheckpointError(
            f"{path} unpacks to {total} bytes, more than the {MAX_BYTES} accepted; refused."
        )
    if total > max(_RATIO_MATTERS_ABOVE, MAX_RATIO * path.stat().st_size):
        raise CheckpointError(
            f"{path} unpacks to {total} bytes, over {MAX_RATIO} times its own size; refused."
        )
    return members


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member; `zipfile` stops at its declared size and checks its CRC."""
    target = folder.joinpath(*PurePosixPath(member.filename).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1024**2)
