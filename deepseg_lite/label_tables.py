"""Tables of the values of a label map, for viewers."""

from __future__ import annotations

import json
from collections.abc import Mapping


def label_tables(names: Mapping[int, str]) -> dict[str, bytes]:
    """Return the tables of a label map, by what follows the stem of its name.

    Parameters
    ----------
    names : mapping of int to str
        Name of each value; may be empty, and then there are no tables.

    Returns
    -------
    tables : dict
        ``_labels.json``, value to name; and ``_labels.tsv``, as BIDS wants it, with the columns
        index and name.
    """
    if not names:
        return {}
    rows = [("index", "name"), *((str(value), names[value]) for value in sorted(names))]
    return {
        "_labels.json": (json.dumps(dict(rows[1:]), indent=2) + "\n").encode(),
        "_labels.tsv": "".join("\t".join(row) + "\n" for row in rows).encode(),
    }
