"""Plugin of pytest: networks of tests are written in slices, too, however small they are.

``PYTHONPATH=tests pytest -p helpers.forced_forms tests/parity`` runs the parity suites with the
form, which small networks do not get: they would not be faster.
"""

from __future__ import annotations

from deepseg_export.network.slices import making, rule

rule.FEW = rule.BLOCK = rule.VOXELS_PER_WEIGHT = rule.CHUNK_BYTES = 1
making.MOST_GROWTH, making.LEAST_SAVED = 50.0, -1.0
