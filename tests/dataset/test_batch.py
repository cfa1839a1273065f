"""Batches: from a data set to results, done once, whatever happens in between."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.bundles import make_data, voxels, write_bundle
from helpers.datasets import files_of, make_dataset
from helpers.spine import make_spine
from helpers.spine_bundles import NAMES, image_of, write_bundles

import deepseg_lite
from deepseg_lite.api.cases import name_outputs, run_case
from deepseg_lite.dataset.batch import plan_batch
from deepseg_lite.dataset.tables import rows_of, write_tables
from deepseg_lite.errors import DeepsegError, OptionError, OutputError
from deepseg_lite.store.cache import bundle_directory

HOW = {"device": "cpu", "threads": 1, "jobs": "here"}
T2 = [f"sub-0{number}/anat/sub-0{number}_T2w" for number in (1, 2, 3)]
MASK = "sub-01/anat/sub-01_label-cord_desc-T2w_mask"


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "data", *T2)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def run(dataset, out, task, **options) -> list[dict]:
    return list(deepseg_lite.batch(dataset, out, task, **{**HOW, **options}))


def standings(reports) -> list[tuple[str, bool]]:
    return [(report["status"], report["was_done"]) for report in reports]


def damage(dataset, number: int = 2) -> Path:
    path = dataset / f"{T2[number - 1]}.nii.gz"
    path.write_bytes(path.read_bytes()[:300])
    return path


def test_a_data_set_becomes_derivatives(dataset, out, tiny_bundle):
    reports = run(dataset, out, tiny_bundle)
    assert [report["case"] for report in reports] == T2
    assert standings(reports) == [("done", False)] * 3
    assert files_of(out / "sub-01") == [f"{MASK[7:]}.json", f"{MASK[7:]}.nii.gz"]
    np.testing.assert_array_equal(voxels(out / f"{MASK}.nii.gz"), make_data(seed=0) > 0.5)
    record = json.loads((out / f"{MASK}.json").read_text())
    assert record["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]
    assert record["SpatialReference"] == "orig"
    assert record["Case"] == T2[0]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["DatasetLinks"] == {"raw": "../data"}
    assert description["SourceDatasets"] == [{"URL": "../data"}]
    assert "logs/" in (out / ".bidsignore").read_text()
    log = (out / "logs" / "tiny_threshold" / f"{T2[0]}.log").read_text()
    assert "done in" in log


def test_what_is_done_is_not_done_again(dataset, out, tiny_bundle):
    run(dataset, out, tiny_bundle, participant_label=["01"])
    assert standings(run(dataset, out, tiny_bundle)) == [
        ("done", True),
        ("done", False),
        ("done", False),
    ]
    before = {name: (out / name).read_bytes() for name in files_of(out)}
    assert standings(run(dataset, out, tiny_bundle)) == [("done", True)] * 3
    assert {name: (out / name).read_bytes() for name in files_of(out)} == before


def test_results_inside_the_data_set_are_no_images(dataset, tiny_bundle):
    out = dataset / "derivatives" / "labels"
    assert len(run(dataset, out, tiny_bundle, layout="neuropoly")) == 3
    assert (out / "sub-01/anat/sub-01_T2w_label-cord_seg.nii.gz").exists()
    assert json.loads((out / "dataset_description.json").read_text())["DatasetLinks"] == {
        "raw": "../.."
    }
    assert standings(run(dataset, out, tiny_bundle, layout="neuropoly")) == [("done", True)] * 3


def test_sct_names_need_no_bids(tmp_path, out, tiny_bundle, dataset):
    (tmp_path / "plain" / "a b").mkdir(parents=True)
    shutil.copy(dataset / f"{T2[0]}.nii.gz", tmp_path / "plain" / "a b" / "t\n2 ü.nii.gz")
    (report,) = run(tmp_path / "plain", out, tiny_bundle)
    assert report["status"] == "done"
    assert (out / "a b" / "t\n2 ü_seg.nii.gz").exists()
    assert not (out / "dataset_description.json").exists()
    assert "t\\n2 ü" in (out / "cases.tsv").read_text(encoding="utf-8")


def test_a_case_that_fails_leaves_a_record_and_is_tried_when_asked(dataset, out, tiny_bundle):
    whole = (dataset / f"{T2[1]}.nii.gz").read_bytes()
    damage(dataset)
    reports = run(dataset, out, tiny_bundle)
    assert standings(reports) == [("done", False), ("failed", False), ("done", False)]
    assert "truncated" in reports[1]["Error"]
    file = out / "logs" / "tiny_threshold" / f"{T2[1]}.json"
    assert json.loads(file.read_text())["Kind"] == "ImageError"
    batch = plan_batch(dataset, out, tiny_bundle, **HOW)
    assert batch.status() == {"done": 2, "failed": 1, "open": 0}

    again = run(dataset, out, tiny_bundle)
    assert sorted(standings(again)) == [("done", True), ("done", True), ("failed", True)]
    retried = run(dataset, out, tiny_bundle, retry_failed=True)
    assert standings(retried) == [("done", True), ("failed", False), ("done", True)]

    (dataset / f"{T2[1]}.nii.gz").write_bytes(whole)  # another image: no need to ask
    assert standings(run(dataset, out, tiny_bundle))[1] == ("done", False)
    assert not file.exists()
    assert batch.status() == {"done": 3, "failed": 0, "open": 0}


def test_an_image_that_is_not_here_is_tried_each_time(dataset, out, tiny_bundle):
    path = dataset / f"{T2[0]}.nii.gz"
    content = path.read_bytes()
    path.unlink()
    path.symlink_to("../../.git/annex/objects/x/y.nii.gz")
    told = []
    first = run(dataset, out, tiny_bundle, warn=told.append)[0]
    assert "datalad get" in first["Error"]
    assert [notice.code for notice in told] == ["not-here"]
    assert standings(run(dataset, out, tiny_bundle))[0] == ("failed", False)
    path.unlink()
    path.write_bytes(content)
    assert standings(run(dataset, out, tiny_bundle))[0] == ("done", False)


def test_an_image_that_goes_while_a_batch_runs_fails_alone(dataset, out, tiny_bundle):
    batch = plan_batch(dataset, out, tiny_bundle, **HOW)
    (dataset / f"{T2[2]}.nii.gz").unlink()
    assert [report["status"] for report in batch.run()] == ["done", "done", "failed"]


def test_status_writes_nothing(dataset, out, tiny_bundle):
    batch = plan_batch(dataset, out, tiny_bundle, **HOW)
    assert batch.status() == {"done": 0, "failed": 0, "open": 3}
    assert not out.exists()


def test_tables_are_made_of_the_records(dataset, out, tiny_bundle):
    damage(dataset)
    run(dataset, out, tiny_bundle)
    table = (out / "cases.tsv").read_bytes()
    head, first, second, _ = table.decode().splitlines()
    columns = ["case", "task", "status", "verdict", "warnings", "seconds", "slices"]
    assert head.split("\t")[:7] == columns
    row = dict(zip(head.split("\t"), first.split("\t"), strict=True))
    truth = make_data(seed=0) > 0.5
    assert (row["case"], row["task"], row["status"]) == (T2[0], "tiny_threshold", "done")
    assert int(row["slices"]) == truth.any(axis=(0, 1)).sum()
    assert float(row["mm3_cord"]) == pytest.approx(truth.sum() * 0.7 * 1.1 * 2.5, rel=1e-4)
    assert dict(zip(head.split("\t"), second.split("\t"), strict=True))["status"] == "failed"
    for name in ("cases.tsv", "cases.json"):
        (out / name).unlink()
    shutil.move(out, out.with_name("moved"))
    rows = write_tables(out.with_name("moved"))
    assert (out.with_name("moved") / "cases.tsv").read_bytes() == table
    assert json.loads((out.with_name("moved") / "cases.json").read_text()) == rows


def test_other_documents_are_no_rows(dataset, out, tiny_bundle):
    run(dataset, out, tiny_bundle)
    (out / "a.json").write_text('{"Case": 1, "Key": 2, "Warnings": 3}')
    (out / "b.json").write_text('{"Case": "x", "Key": "y", "Seconds": "z"}')
    (out / "c.json").write_text("nothing")
    assert [row["case"] for row in rows_of(out)] == T2


def test_several_tasks_share_a_pass(dataset, out, tiny_bundle, tmp_path):
    other = write_bundle(tmp_path / "b", "regions", name="tiny_regions")
    reports = run(dataset, out, [tiny_bundle, other])
    assert [(report["case"], report["task"]) for report in reports] == [
        (case, task) for case in T2 for task in ("tiny_threshold", "tiny_regions")
    ]
    assert {report["status"] for report in reports} == {"done"}
    assert (out / "sub-01/anat/sub-01_desc-segT2w_dseg.tsv").read_text() == (
        "index\tname\n1\tcord\n2\tgray/matter\n"
    )
    assert len(rows_of(out)) == 6


def test_tasks_that_would_write_the_same_are_refused(dataset, out, tiny_bundle, tmp_path):
    other = write_bundle(tmp_path / "b", name="other")
    with pytest.raises(OptionError, match="would both write"):
        run(dataset, out, [tiny_bundle, other])
    with pytest.raises(OptionError, match="given twice"):
        run(dataset, out, [tiny_bundle, tiny_bundle])
    assert not out.exists()


def test_another_task_does_not_replace_results(dataset, out, tiny_bundle, tmp_path):
    run(dataset, out, tiny_bundle)
    mask = (out / f"{MASK}.nii.gz").read_bytes()
    other = write_bundle(tmp_path / "b", name="other", preprocessing=[])
    reports = run(dataset, out, other)
    assert {report["status"] for report in reports} == {"failed"}
    assert "is a result of tiny_threshold" in reports[0]["Error"]
    assert (out / f"{MASK}.nii.gz").read_bytes() == mask


def test_images_of_two_channels_are_one_case(tmp_path, out):
    names = [f"sub-0{n}/anat/sub-0{n}_{s}" for n in (1, 2) for s in ("T1w", "T2w")]
    dataset = make_dataset(tmp_path / "data", *names, "sub-03/anat/sub-03_T1w")
    bundle = write_bundle(tmp_path / "two", "channels")
    told = []
    reports = run(dataset, out, bundle, warn=told.append)
    assert [[Path(i).name for i in report["images"]] for report in reports] == [
        ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"],
        ["sub-02_T1w.nii.gz", "sub-02_T2w.nii.gz"],
    ]
    assert [report["status"] for report in reports] == ["done", "done"]
    assert [notice.code for notice in told] == ["unpaired"]


def test_two_batches_at_once_write_the_same_once(dataset, out, tiny_bundle):
    one, other = (plan_batch(dataset, out, tiny_bundle, **HOW).run() for _ in range(2))
    pairs = list(zip(one, other, strict=True))
    assert [[report["status"] for report in pair] for pair in pairs] == [["done", "done"]] * 3
    assert len(rows_of(out)) == 3
    assert not [path for path in out.rglob(".deepseg-lite*")]


def test_a_disk_that_is_full_fails_cases_and_loses_nothing(dataset, out, tiny_bundle, monkeypatch):
    from deepseg_lite.api import cases

    run(dataset, out, tiny_bundle, participant_label="01")

    def full(*_, **__):
        raise OutputError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cases.atomic, "write_files", full)
        patch.setattr("deepseg_lite.dataset.tables.write_files", full)
        patch.setattr("deepseg_lite.dataset.state.write_files", full)
        reports = run(dataset, out, tiny_bundle)
    assert standings(reports) == [("done", True), ("failed", False), ("failed", False)]
    assert standings(run(dataset, out, tiny_bundle)) == [
        ("done", True),
        ("done", False),
        ("done", False),
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"filter": ["suffix=bold"]}, "no images"),
        ({"filter": ["bold"]}, "suffix=T2w"),
        ({"jobs": "0"}, "jobs is '0'"),
        ({"jobs": "many"}, "jobs is 'many'"),
        ({"layout": "other"}, "layout"),
        ({"part": "3"}, "part=3"),
        ({"time_limit": 60}, "none was asked for"),
        ({"time_limit": 60, "jobs": 1, "scheduler": "local:1"}, "none was asked for"),
        ({"time_limit": 0, "jobs": 1}, "time_limit"),
        ({"include_yml": "none.yml"}, "none.yml"),
        ({"step": 3.0}, "step"),
        ({"label_vert": True}, "label_vert"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_before_any_work(dataset, out, tiny_bundle, options, told):
    with pytest.raises(OptionError, match=told):
        run(dataset, out, tiny_bundle, **options)
    assert not out.exists()


def test_where_no_image_fits_it_is_said_what_is_there(dataset, out, tiny_bundle):
    with pytest.raises(OptionError, match=r"which has 3 of T2w; .*suffix=T2w"):
        run(dataset, out, tiny_bundle, filter=["suffix=bold"])
    for image in dataset.rglob("*.nii.gz"):
        image.unlink()
    with pytest.raises(OptionError, match="which has none; "):
        run(dataset, out, tiny_bundle)


def test_the_folder_of_the_images_is_no_folder_of_results(dataset, tiny_bundle):
    with pytest.raises(OptionError, match="folder of the images"):
        run(dataset, dataset, tiny_bundle)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes all")
def test_a_folder_that_may_not_be_written_to_is_refused(dataset, out, tiny_bundle):
    out.mkdir(mode=0o500)
    with pytest.raises(OutputError):
        run(dataset, out, tiny_bundle)


def test_results_in_the_place_of_a_file_are_refused(dataset, out, tiny_bundle):
    out.write_text("a file")
    with pytest.raises(DeepsegError):
        run(dataset, out, tiny_bundle)
    assert out.read_text() == "a file"


def test_processes_give_what_one_gives(dataset, out, tiny_bundle):
    reports = run(dataset, out, tiny_bundle, jobs=2)
    assert sorted(report["case"] for report in reports) == T2
    for seed, case in enumerate(T2):
        mask = case.replace("_T2w", "_label-cord_desc-T2w_mask")
        np.testing.assert_array_equal(voxels(out / f"{mask}.nii.gz"), make_data(seed=seed) > 0.5)


def test_parts_are_all_of_it_and_nothing_twice(dataset, out, tiny_bundle):
    parts = [run(dataset, out, tiny_bundle, part=f"{number}/2") for number in (1, 2)]
    assert sorted(report["case"] for part in parts for report in part) == T2
    assert len(rows_of(out)) == 3


def test_a_bids_filter_file_chooses(tmp_path, out, tiny_bundle):
    dataset = make_dataset(tmp_path / "data", "sub-1/anat/sub-1_acq-ax_T2w", "sub-1/anat/sub-1_T2w")
    (tmp_path / "f.json").write_text('{"t2w": {"suffix": "T2w", "acquisition": "ax"}}')
    (report,) = run(dataset, out, tiny_bundle, bids_filter_file=str(tmp_path / "f.json"))
    assert report["case"] == "sub-1/anat/sub-1_acq-ax_T2w"


def test_a_time_series_fails_with_what_to_do(tmp_path, out, tiny_bundle):
    import nibabel as nib

    dataset = make_dataset(tmp_path / "data")
    path = dataset / "sub-1/func/sub-1_task-rest_bold.nii.gz"
    path.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5, 3), np.float32), np.eye(4)), path)
    (report,) = run(dataset, out, tiny_bundle, filter="suffix=bold")
    assert "one 3-D volume is needed" in report["Error"]


def test_all_options_of_a_run_are_options_of_a_batch():
    """They are declared once; those that are not are of one case: its files, its bar, its end."""
    from deepseg_lite.cli.batch import batch
    from deepseg_lite.cli.run import run as single

    names = {parameter.name for parameter in batch.params}
    of_a_case = {"task_or_bundle", "images", "cases", "output", "fail_empty"}
    common = {"debug"}  # added by the group
    assert {parameter.name for parameter in single.params} - names - common == of_a_case


def test_a_spine_is_two_maps_of_one_case_in_processes_as_alone(tmp_path, out):
    """The workflow of two networks, its companion found beside the bundle, and its tables."""
    import nibabel as nib

    spine = make_spine(1, 8)
    dataset = make_dataset(tmp_path / "data")
    for number in (1, 2):
        path = dataset / f"sub-0{number}/anat/sub-0{number}_T2w.nii.gz"
        path.parent.mkdir(parents=True)
        image = image_of(spine)
        image.header["descrip"] = f"{number}".encode()
        nib.save(image, path)
    write_bundles(tmp_path / "bundles")
    for name in NAMES:
        shutil.copytree(tmp_path / "bundles" / name, bundle_directory(name))
    reports = run(dataset, out, "totalspineseg", jobs=2)
    assert standings(reports) == [("done", False)] * 2
    image = dataset / "sub-01/anat/sub-01_T2w.nii.gz"
    model = deepseg_lite.load("totalspineseg", device="cpu", threads=1)
    (case,) = name_outputs(model, [[image]], tmp_path / "alone")
    run_case(model, case)
    places = [("discs", "desc-discsT2w_dseg"), ("all", "desc-spineT2w_dseg")]
    for (end, place), expected in zip(places, case.paths, strict=True):
        assert expected.name.endswith(f"totalspineseg_{end}.nii.gz")
        for number in (1, 2):
            file = out / f"sub-0{number}/anat/sub-0{number}_{place}.nii.gz"
            np.testing.assert_array_equal(voxels(file), voxels(expected))
            table = file.with_name(file.name.replace(".nii.gz", ".tsv")).read_text()
            assert table.startswith("index\tname\n1\t")
    assert len(rows_of(out)) == 2
