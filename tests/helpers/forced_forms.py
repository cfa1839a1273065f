"""Plugin of pytest: networks of tests are written in slices or in rows, too, however small.

``PYTHONPATH=tests pytest -p helpers.forced_forms tests/parity`` runs the parity suites with the
form, which small networks do not get: they would not be faster.
"""

from __future__ import annotations

from deepseg_export.network.rows import rule as of_rows
from deepseg_export.network.slices import making, rule

of_rows.BLOCK = of_rows.FEW = of_rows.FEW_WITHIN = of_rows.FEW_VOXELS = 1
rule.FEW = rule.BLOCK = rule.VOXELS_PER_WEIGHT = rule.CHUNK_BYTES = 1
making.MOST_GROWTH, making.LEAST_SAVED = 50.0, -1.0
