"""Nothing private travels: markers in every text of a header, looked for in all that is written."""

from __future__ import annotations

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data

MARKER = b"DOE^JANE"
TEXTS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")


@pytest.fixture
def marked(tmp_path):
    """Write an image with the marker in every text field and in extensions of every kind."""
    image = nib.Nifti1Image(make_data(), make_affine("LPS"))
    for code in (0, 2, 4, 6, 40):
        image.header.extensions.append(nib.nifti1.Nifti1Extension(code, MARKER))
    data = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for field in TEXTS:
        header[field] = MARKER
    data[:348] = header.binaryblock
    assert data.count(MARKER) == len(TEXTS) + 5
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t2.nii.gz").write_bytes(gzip.compress(data))
    return tmp_path / "in" / "t2.nii.gz"


@pytest.mark.parametrize("options", [(), ("--soft",)])
def test_no_byte_of_a_run_has_what_a_header_said(command, tiny_bundle, marked, tmp_path, options):
    """Fault 12: results, records, standard output and standard error."""
    out = tmp_path / "out"
    outcome = command("run", tiny_bundle, "-i", marked, "-o", out, "--json", "-v", *options)
    assert outcome.code == 0
    assert json.loads(outcome.out)["results"]
    files = list(out.iterdir())
    assert len(files) == 2
    for file in files:
        data = file.read_bytes()
        content = gzip.decompress(data) if file.suffix == ".gz" else data
        assert MARKER[:4] not in content
        assert MARKER[-4:] not in content
    assert MARKER.decode() not in outcome.out + outcome.err
    result = nib.load(next(file for file in files if file.suffix == ".gz"))
    np.testing.assert_array_equal(result.affine, nib.load(marked).affine)
    assert not result.header.extensions
