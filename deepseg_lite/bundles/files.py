"""Files of all kinds of bundles: a name, a version, and networks with their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.onnx_metadata import ManifestEntry, split_manifest
from deepseg_lite.bundles.operators import check_graph
from deepseg_lite.bundles.schemas import parse_json
from deepseg_lite.errors import BundleError, BundleNotFoundError, ChecksumError, OptionError

MANIFEST_NAME = "manifest.json"
CANONICAL = "canonical"
"""The form of a network that every device takes."""
MAX_BYTES = 4 << 20
"""Of a manifest."""
MAX_LONE_BYTES = 2 << 30
"""Of an ``.onnx`` file, which is one protobuf message."""
_PIECE_BYTES = 1 << 16
_MAKERS = {
    "fp32": "export the model again",
    "int8": "make them with deepseg-export quantize {path} --calibrate IMAGE --force",
    "fp16": "make them with deepseg-export quantize {path} --fp16 --held-out IMAGE --force",
    "fp16-weights": "make them with deepseg-export quantize {path} --fp16-weights --held-out IMAGE "
    "--force",
}
"""Commands that add networks in a precision to a bundle."""


@dataclass(frozen=True, kw_only=True)
class BundleFile:
    """A file of a bundle, and the hash and size that prove it is the one of the manifest.

    ``path`` is below the bundle's folder, with ``/`` between folders and files.
    """

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class NetworkFile(BundleFile):
    """One ONNX file.

    ``variants`` are files of the same network in other precisions, ``forms`` those of the same
    network written for some ``devices``, whose weights are in the file of the network itself.
    """

    precision: str = "fp32"
    variants: tuple[NetworkFile, ...] = ()
    form: str = CANONICAL
    devices: tuple[str, ...] = ()
    forms: tuple[NetworkFile, ...] = ()
    weights: NetworkFile | None = None


@dataclass(frozen=True, kw_only=True)
class BundleFiles:
    """A bundle of any kind, as a place on the disk.

    ``path`` is the directory with the networks, or with ``lone_file`` the one ``.onnx`` that is
    everything. ``manifest`` is the JSON document itself, for whatever only people read.
    """

    name: str
    version: str
    networks: tuple[NetworkFile, ...]
    manifest: Mapping[str, Any] = field(repr=False, compare=False)
    path: Path
    lone_file: bool = False

    def network_path(self, network: NetworkFile) -> Path:
        """Return the file of one network."""
        return self.path if self.lone_file else self.path / network.path

    @property
    def files(self) -> tuple[NetworkFile, ...]:
        """Every ONNX file: each network, followed by its variants and its forms."""
        return tuple(
            file
            for network in self.networks
            for file in (network, *network.variants, *network.forms)
        )

    @property
    def reference_files(self) -> tuple[BundleFile, ...]:
        """Every file of a reference case; runs need none of them."""
        return ()

    @property
    def contents(self) -> tuple[BundleFile, ...]:
        """Every file that the manifest lists."""
        return (*self.files, *self.reference_files)

    @property
    def size(self) -> int:
        """Bytes of all files that the manifest lists."""
        return sum(file.size for file in self.contents)


def read_manifest(path: Path) -> tuple[Any, bool]:
    """Return the manifest at ``path`` as a JSON document, and whether that is a lone file.

    Raises
    ------
    BundleNotFoundError
        If there is nothing at ``path``, or nothing that is a bundle.
    BundleError
        If the manifest cannot be read.
    """
    lone_file = path.is_file()
    if lone_file:
        text = _lone_manifest(path).text
    elif (path / MANIFEST_NAME).is_file():
        try:
            with (path / MANIFEST_NAME).open("rb") as file:
                text = file.read(MAX_BYTES + 1).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{path / MANIFEST_NAME} cannot be read: {error}.") from error
    else:
        raise BundleNotFoundError(
            f"{path} is not a bundle: a folder with {MANIFEST_NAME}, or an .onnx file made by "
            "deepseg-export, is needed."
        )
    if len(text) > MAX_BYTES:
        raise BundleError(
            f"{path} has a manifest of more than {MAX_BYTES >> 20} MB; none of ours is that large. "
            "Get the bundle again."
        )
    try:
        return parse_json(text), lone_file
    except ValueError as error:
        raise BundleError(f"{path} has a manifest that is not JSON: {error}.") from error


def file_in(bundle: BundleFiles, network: NetworkFile, precision: str) -> NetworkFile:
    """Return the file of a network in a precision.

    Raises
    ------
    OptionError
        If the bundle has none: which it has, and the command that makes one.
    """
    there = {file.precision: file for file in (network, *network.variants)}
    if precision not in there:
        raise OptionError(
            f"{bundle.name} has no networks in {precision}; name one that it has with `precision` "
            f"({', '.join(there)}), or {_MAKERS[precision].format(path=bundle.path)}."
        )
    return there[precision]


def check_files(bundle: BundleFiles) -> None:
    """Raise `ChecksumError` if a network is missing or has another size than recorded."""
    for network in bundle.files:
        file = bundle.network_path(network)
        if not file.is_file():
            raise ChecksumError(f"{file} is missing; the manifest lists it. Get the bundle again.")
        if not bundle.lone_file and file.stat().st_size != network.size:
            raise ChecksumError(
                f"{file} has {file.stat().st_size} bytes, the manifest says {network.size}. "
                "Get the bundle again."
            )


def read_network(bundle: BundleFiles, network: NetworkFile) -> bytes:
    """Return the bytes of one network after checking them against the manifest.

    Raises
    ------
    ChecksumError
        If size or SHA-256 differ: what was expected and what was found.
    """
    file = bundle.network_path(network)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ChecksumError(f"{file} cannot be read: {error.strerror}.") from error
    if bundle.lone_file:
        data = data[: _lone_manifest(file).start]
    _compare(file, network, len(data), hashlib.sha256(data).hexdigest())
    return data


def check_network(bundle: BundleFiles, network: NetworkFile) -> Path:
    """Return the file of one network after checking it: the manifest's, and one that only computes.

    So is the file with its weights, where that is another.

    Raises
    ------
    ChecksumError
        As `read_network`.
    BundleError
        As `check_graph`.
    """
    if bundle.lone_file:  # its manifest is at the end, so it has to be read whole
        read_network(bundle, network)
        file, weights = bundle.path, None
    else:
        weights = None if network.weights is None else check_network(bundle, network.weights)
        file = check_file(bundle, network)
    check_graph(file, weights)
    return file


@contextmanager
def checked_network(bundle: BundleFiles, network: NetworkFile) -> Iterator[Path]:
    """Give the file of one network to open, as `check_network` returns it.

    Weights in a file of their own are numbers alone, and the graph says where each is. So their
    hash is taken in a second thread while the network is opened. If they are not the manifest's,
    that is the error, whatever came of opening them.

    Raises
    ------
    ChecksumError, BundleError
        As `check_network`.
    """
    weights = network.weights
    if bundle.lone_file or weights is None or not _has_its_size(bundle, weights):
        yield check_network(bundle, network)  # which says what is wrong with them
        return
    file = check_file(bundle, network)
    check_graph(file, bundle.path / weights.path)
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(check_file, bundle, weights)
        try:
            yield file
        finally:
            checked.result()


def _has_its_size(bundle: BundleFiles, listed: BundleFile) -> bool:
    file = bundle.path / listed.path
    return file.is_file() and file.stat().st_size == listed.size


def check_listed(bundle: BundleFiles, listed: BundleFile) -> None:
    """Check a file of any kind that the manifest lists; see `check_network` and `check_file`."""
    if isinstance(listed, NetworkFile):
        check_network(bundle, listed)
    else:
        check_file(bundle, listed)


def check_file(bundle: BundleFiles, listed: BundleFile) -> Path:
    """Return a file of a bundle's folder after checking that it is the manifest's.

    It is read in small pieces: a block as large as the file, once freed, would have the C library
    keep other large blocks, too.

    Raises
    ------
    ChecksumError
        If it is missing, or size or SHA-256 differ: what was expected and what was found.
    """
    file, size, digest = bundle.path / listed.path, 0, hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE_BYTES):
                size += len(piece)
                digest.update(piece)
    except OSError as error:
        raise ChecksumError(
            f"{file} cannot be read: {error.strerror}. Get the bundle again."
        ) from error
    _compare(file, listed, size, digest.hexdigest())
    return file


def _compare(file: Path, listed: BundleFile, size: int, sha256: str) -> None:
    if size != listed.size or sha256 != listed.sha256:
        raise ChecksumError(
            f"{file} is corrupt or was changed: {size} bytes with SHA-256 {sha256[:12]}..., "
            f"the manifest says {listed.size} with {listed.sha256[:12]}.... "
            "Get the bundle again."
        )


def _lone_manifest(path: Path) -> ManifestEntry:
    try:
        if path.stat().st_size > MAX_LONE_BYTES:
            raise ValueError(f"it has more than {MAX_LONE_BYTES >> 30} GiB, which no ONNX file has")
        entry = split_manifest(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is not a readable .onnx file: {error}.") from error
    if entry is None:
        raise BundleError(
            f"{path} carries no manifest, so its input and output are unknown; give a bundle made "
            "by deepseg-export."
        )
    return entry
