"""The catalogue as people and programs read it: ``list``, ``info`` and the tables."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers.bundles import write_bundle
from helpers.paths import MODELS
from helpers.tasks import RETIRED, TASK, UNSUPPORTED, add_task

from deepseg_lite.bundles.schemas import read_schema
from deepseg_lite.store import catalogue
from deepseg_lite.store.cache import bundle_directory
from deepseg_lite.store.tasks import list_tasks

ROOT = MODELS.parent
STANDINGS = {"shipped", "ready", "not here", "not supported yet"}


@pytest.fixture
def rows(command):
    return {row["name"]: row for row in json.loads(command("list", "--json").out)}


def test_the_families_are_those_of_the_exporter():
    folder = ROOT / "export" / "deepseg_export" / "families"
    found = {path.stem for path in folder.iterdir() if path.stem not in ("__init__", "__pycache__")}
    known = read_schema("task")["$defs"]["part"]["properties"]["family"]["enum"]
    assert found >= set(known)


def test_adding_a_task_is_adding_a_directory(tmp_path):
    add_task(tmp_path, "spinalcord", kind=None)
    assert "rootlets" not in catalogue.listing(list_tasks(tmp_path))
    add_task(tmp_path, "rootlets", TASK.replace("A title", "Another one"), kind=None)
    (line,) = [
        line for line in catalogue.listing(list_tasks(tmp_path)).splitlines() if "rootlets" in line
    ]
    assert line.split() == ["rootlets", "not", "here", "t2", "MIT", "Another", "one"]


def test_where_a_task_stands(tmp_path):
    add_task(tmp_path / "m", "a_shipped")
    for name in ("b_ready", "c_exportable"):
        add_task(tmp_path / "m", name, kind=None)
    add_task(tmp_path / "m", "d_not_yet", UNSUPPORTED, kind=None)
    write_bundle(bundle_directory("b_ready"))
    tasks = list_tasks(tmp_path / "m")
    assert [catalogue.standing(task) for task in tasks] == [
        "shipped", "ready", "not here", "not supported yet",
    ]  # fmt: skip


def test_groups_are_the_gallerys_and_retired_tasks_come_last(tmp_path):
    add_task(tmp_path, "b", TASK.replace('"other"', '"pathology"'))
    add_task(tmp_path, "c", RETIRED.replace('"other"', '"spinal cord"'))
    add_task(tmp_path, "a")
    groups = catalogue.grouped(list_tasks(tmp_path))
    assert [(group, [task.name for task in members]) for group, members in groups.items()] == [
        ("pathology", ["b"]), ("other", ["a"]), ("retired", ["c"]),
    ]  # fmt: skip


def test_list_shows_every_task_under_its_group(command):
    outcome = command("list")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    heads = [line for line in lines[1:] if line.isupper()]
    assert heads == ["SPINAL CORD", "GRAY MATTER", "PATHOLOGY", "OTHER", "RETIRED"]
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(names) == [task.name for task in list_tasks()]
    assert lines.index("RETIRED") < min(
        i for i, line in enumerate(lines) if "ms_sc_mp2rage" in line
    )
    (shipped,) = [line for line in lines if line.startswith("  sc_gm_t2star ")]
    assert "shipped" in shipped
    assert "CC0-1.0" in shipped


def test_list_as_json(rows):
    assert set(rows) == {task.name for task in list_tasks()}
    assert {row["standing"] for row in rows.values()} <= STANDINGS
    cord = rows["seg_sc_contrast_agnostic"]
    assert (cord["group"], cord["status"], cord["license"]) == ("spinal cord", "active", "MIT")
    assert cord["aliases"] == ["spinalcord", "sc_contrast_agnostic"]
    assert cord["releases"][:2] == ["v4.0", "v3.0"]
    assert (cord["standing"], cord["obstacle"]) == ("not here", None)
    assert rows["mice_sc"]["license"] is None
    assert rows["tumor_t2"]["standing"] == "not here"
    assert rows["totalspineseg"]["standing"] == "not here"
    assert rows["ms_sc_mp2rage"]["status"] == "retired"


def test_info_needs_no_bundle(command):
    outcome = command("info", "SPINALCORD")
    assert outcome.code == 0
    facts = dict(
        line.split(":", 1) for line in outcome.out.splitlines() if not line.startswith(" ")
    )
    facts = {key: value.strip() for key, value in facts.items()}
    assert facts["name"] == "seg_sc_contrast_agnostic"
    assert facts["here"] == "not here"
    assert facts["labels"] == "sc = 1"
    assert facts["SCT's outputs"] == "_seg"
    assert facts["license"] == "MIT"
    assert facts["releases"].startswith("v4.0 (SCT after 7.3)")
    assert facts["to get it"] == "deepseg-lite fetch seg_sc_contrast_agnostic"
    for url in ("v4.0/model_contrast_agnostic_20260628.zip", "v2.0/model_2023-09-18.zip"):
        assert url in outcome.out


def test_info_says_that_no_licence_is_stated(command):
    assert "license:        none stated" in command("info", "mice_gm").out


def test_info_of_a_retired_task_names_its_successor(command):
    out = command("info", "seg_sc_ms_lesion_stir_psir").out
    lines = {" ".join(line.split()) for line in out.splitlines()}
    assert {"status: retired", "last SCT with it: 6.4", "superseded by: seg_ms_lesion"} <= lines


def test_info_as_json_without_a_bundle(command):
    facts = json.loads(command("info", "lesion_ms", "--json").out)
    assert facts["manifest"] is None
    task = facts["task"]
    assert (task["name"], task["status"]) == ("seg_ms_lesion", "active")
    assert task["aliases"] == ["lesion_ms", "ms_lesion"]
    newest = task["releases"][0]
    assert (newest["version"], newest["stages"][0]["crop"]) == ("r20260703", True)
    assert [len(mirrors) for mirrors in newest["stages"][0]["archives"]] == [1] * 5
    assert newest["stages"][0]["ensemble"] == "majority"


def test_info_as_json_holds_the_manifest_and_the_task(command):
    facts = json.loads(command("info", "sc_gm_t2star", "--json").out)
    assert facts["labels"] == ["sc = 1+2", "gm = 2"]
    assert facts["manifest"]["schema"] == 1
    assert facts["license"] == facts["task"]["license"] == "CC0-1.0"
    assert (facts["here"], facts["task"]["standing"]) == ("shipped", "shipped")


def test_info_of_a_bundle_has_no_task(command, tiny_bundle):
    facts = json.loads(command("info", tiny_bundle, "--json").out)
    assert (facts["task"], facts["name"]) == (None, "tiny_threshold")


def test_run_without_a_bundle_names_the_one_command_that_gets_it(command, image_file):
    outcome = command("run", "spinalcord", "-i", image_file)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        "error: no bundle of seg_sc_contrast_agnostic is on this machine; to get it: deepseg-lite "
        "fetch seg_sc_contrast_agnostic\n"
    )


def test_run_of_a_retired_task_needs_the_option(command, image_file):
    refused = command("run", "seg_ms_sc_mp2rage", "-i", image_file)
    assert refused.code == 1
    assert refused.err.count("\n") == 1
    assert "--retired" in refused.err
    assert "Use seg_sc_contrast_agnostic instead" in refused.err
    write_bundle(bundle_directory("ms_sc_mp2rage"))
    done = command("run", "seg_ms_sc_mp2rage", "-i", image_file, "--retired", "-q")
    assert done.code == 0, done.err
    assert done.out.endswith("_seg.nii.gz\n")


@pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="this is not a checkout")
def test_the_tables_are_current():
    command = [sys.executable, MODELS / "tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
