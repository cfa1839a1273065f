"""Documents: JSON and YAML of strangers, within limits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError, MissingPackageError
from deepseg_export.reading.limits import check_tree, parts_of, read_file, unreadable

MAX_JSON_BYTES = 8 * 1024**2
MAX_YAML_BYTES = 128 * 1024  # its reader is a hundred times slower


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    CheckpointError
        If the file is not one, or is beyond a limit.
    """
    text = _text(path, MAX_JSON_BYTES)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise unreadable(path, error) from error
    return _checked(content, path, "JSON object")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; of tags, only those of plain values.

    Raises
    ------
    CheckpointError
        If the file is not one, or is beyond a limit.
    MissingPackageError
        If PyYAML is not installed.
    """
    text = _text(path, MAX_YAML_BYTES)
    try:
        import yaml
    except ImportError as error:
        raise MissingPackageError(
            "Reading this bundle needs PyYAML, which is not installed: pip install pyyaml"
        ) from error

    def parts(node: Any) -> Iterable[Any]:
        return parts_of(node.value) if isinstance(node, yaml.Node) else parts_of(node)

    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        check_tree(node, path, parts)  # aliases are shared here, and written out by what follows
        content = None if node is None else loader.construct_document(node)
    except CheckpointError:
        raise
    except Exception as error:  # it has no common base for what dates and numbers raise
        raise unreadable(path, error) from error
    finally:
        if loader is not None:
            loader.dispose()
    return _checked(content, path, "YAML mapping")


def _text(path: Path, max_bytes: int) -> str:
    try:
        return read_file(path, max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise unreadable(path, error) from error


def _checked(content: Any, path: Path, what: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no {what}; get it again.")
    check_tree(content, path)
    return content
