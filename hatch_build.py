"""Long description of the package: the README without what leads nowhere outside a checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(
    r"^!\[[^\]]*\]\((?![a-z]+:)[^)]*\)\n\n(?:\*(?s:.*?)\n\n)?", re.MULTILINE
)  # and its caption
LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:)[^)\s]+\)")
COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE)


def long_description(readme: str) -> str:
    """Return the README with its relative links as plain text, and without local pictures."""
    return COMMENT.sub("", LINK.sub(r"\1", PICTURE.sub("", readme)))


class LongDescription(MetadataHookInterface):
    """Hook of hatchling, named in pyproject.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme of the metadata."""
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": long_description(readme)}
