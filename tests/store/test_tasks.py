"""Tasks: a directory each, found by name, alias or path."""

from __future__ import annotations

from functools import partial

import pytest
from helpers.bundles import write_bundle
from helpers.tasks import RETIRED, TASK, add_task

from deepseg_lite import load
from deepseg_lite.errors import BundleError, BundleNotFoundError, OptionError
from deepseg_lite.store.cache import bundle_directory, models_directory
from deepseg_lite.store.tasks import (
    closest_names,
    find_bundle,
    find_task,
    how_to_get,
    list_tasks,
    resolve,
)

# Every name in the table of tasks.md, section 2: the gallery's first, then those of SCT up to 6.5,
# of SCT since 7.0, and those that were never released.
NAMES = """
seg_sc_contrast_agnostic spinalcord sc_contrast_agnostic
seg_lumbar_sc_t2w sc_lumbar_t2 lumbar_sc_t2w
seg_sc_epi sc_epi
seg_sc_t2star sc_t2star
mice_sc seg_mice_sc sc_mouse_t1
seg_gm_sc_7t_t2star gm_sc_7t_t2star
seg_exvivo_gm_wm_t2 seg_exvivo_gm-wm_t2 gm_wm_exvivo_t2 exvivo_gm-wm_t2 seg_mice_gm-wm_dwi
seg_mouse_gm_wm_t1w gm_wm_mouse_t1 mouse_gm_wm_t1w
mice_gm seg_mice_gm gm_mouse_t1
seg_sc_lesion_t2w_sci lesion_sci_t2 sc_lesion_t2w_sci
seg_ms_lesion_mp2rage lesion_ms_mp2rage ms_lesion_mp2rage
seg_sc_ms_lesion_axial_t2w lesion_ms_axial_t2 sc_ms_lesion_axial_t2w seg_sc_lesion_t2w_ms
seg_ms_lesion lesion_ms ms_lesion
seg_tumor_edema_cavity_t1_t2 seg_tumor-edema-cavity_t1-t2 tumor_edema_cavity_t1_t2
seg_tumor_edema_cavity_t1_t2 tumor-edema-cavity_t1-t2
tumor_t2 seg_tumor_t2
seg_spinal_rootlets_t2w rootlets spinal_rootlets_t2w rootlets_t2
totalspineseg spine
canal_t2w sc_canal_t2 canal
seg_sc_ms_lesion_stir_psir
ms_sc_mp2rage seg_ms_sc_mp2rage
graymatter
gm_sct_large sct_deepseg_gm sct_deepseg_gm_large
gm_sct_challenge sct_deepseg_gm_challenge
"""
ROWS = [line.split() for line in NAMES.strip().splitlines()]
PAIRS = [(alias, row[0]) for row in ROWS for alias in row]


@pytest.fixture
def models(tmp_path):
    add_task(tmp_path / "models", "spinalcord")
    add_task(tmp_path / "models", "lesion", kind="channels")
    return tmp_path / "models"


def test_a_task_is_a_directory(models):
    assert [task.name for task in list_tasks(models)] == ["lesion", "spinalcord"]
    add_task(models, "graymatter")
    assert [task.name for task in list_tasks(models)] == ["graymatter", "lesion", "spinalcord"]
    assert find_bundle("graymatter", models)[0].name == "tiny_threshold"


def test_folders_without_a_task_file_are_not_tasks(models):
    (models / "notes").mkdir()
    assert len(list_tasks(models)) == 2


@pytest.mark.parametrize(
    "name", ["spinalcord", "spinalcord_t2-w", "SpinalCord", "spinalcord_t2_w", "SPINALCORD-T2-W"]
)
def test_a_bundle_is_found_by_name_and_alias_in_any_spelling(models, name):
    bundle, task = find_bundle(name, models)
    assert task.name == "spinalcord"
    assert bundle.path == models / "spinalcord" / "bundle"


@pytest.mark.parametrize("name", ["spinalcord", "spinalcord_T2_w"])
def test_a_task_is_found_whatever_is_wrong_with_the_others(models, name):
    add_task(models, "broken", text='name = "{name}"')
    assert find_task(name, models).name == "spinalcord"
    with pytest.raises(BundleError, match="broken"):
        find_task("broken", models)


def test_a_path_is_no_task(models, monkeypatch):
    monkeypatch.chdir(models)
    assert find_task("./spinalcord", models) is None
    assert find_task("spinal", models) is None


def test_a_bundle_is_found_by_path_and_has_no_task(models, tiny_bundle):
    bundle, task = find_bundle(str(tiny_bundle), models)
    assert (bundle.path, task) == (tiny_bundle, None)


def test_names_come_before_paths(models, tmp_path, monkeypatch):
    write_bundle(tmp_path / "spinalcord", "regions")
    monkeypatch.chdir(tmp_path)
    assert find_bundle("spinalcord", models)[0].name == "tiny_threshold"
    assert find_bundle("./spinalcord", models)[0].name == "tiny_regions"


def test_a_bundle_in_the_cache_is_found_by_task_and_by_its_own_name(models):
    add_task(models, "rootlets", kind=None)
    write_bundle(bundle_directory("rootlets"), "regions")
    write_bundle(bundle_directory("mine"), "channels")
    bundle, task = find_bundle("Rootlets-T2-w", models)
    assert (bundle.name, bundle.path) == ("tiny_regions", bundle_directory("rootlets"))
    assert task.name == "rootlets"
    assert find_bundle("mine", models)[0].name == "tiny_channels"


def test_a_shipped_bundle_comes_before_the_cache(models):
    write_bundle(bundle_directory("spinalcord"), "regions")
    assert find_bundle("spinalcord", models)[0].name == "tiny_threshold"


def test_the_closest_names_are_shown(models):
    with pytest.raises(BundleNotFoundError, match=r"spinalcrd is neither.*closest: spinalcord"):
        find_bundle("spinalcrd", models)


def test_all_tasks_are_shown_where_no_name_is_close(models):
    with pytest.raises(BundleNotFoundError, match=r"known: lesion, spinalcord\)"):
        find_bundle("zzz", models)


def test_names_are_close_in_any_spelling():
    tasks = list_tasks()
    assert closest_names("SEG-TUMOR-EDEMA-CAVITY-T1-T3", tasks)[0] == "seg_tumor_edema_cavity_t1_t2"
    assert closest_names("Rootlet", tasks)[0] == "rootlets"


def test_a_task_whose_bundle_is_nowhere_says_how_to_get_it(models):
    add_task(models, "rootlets", kind=None)
    with pytest.raises(BundleNotFoundError, match=r"no bundle of rootlets is .*fetch rootlets$"):
        find_bundle("rootlets_t2-w", models)
    with pytest.raises(BundleNotFoundError, match=r"rootlets r1 is .*fetch rootlets --release r1$"):
        find_bundle("rootlets", models, release="r1")


def test_a_release_that_cannot_be_converted_says_why():
    assert "not yet: totalspineseg before 20260129 found levels in another way" in how_to_get(
        resolve("spine", list_tasks()), "r20241115"
    )


def test_a_retired_task_says_so_and_runs_when_asked_for(models):
    add_task(models, "old", RETIRED)
    with pytest.raises(OptionError) as caught:
        find_bundle("old", models)
    for part in ("old (A title) is retired", "SCT 6.4", "Use spinalcord instead", "`retired`"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    bundle, task = find_bundle("OLD-T2-W", models, retired=True)
    assert (bundle.name, task.is_retired) == ("tiny_threshold", True)


def test_load_needs_retired_for_a_retired_task():
    with pytest.raises(OptionError, match=r"Use seg_ms_lesion instead"):
        load("seg_sc_ms_lesion_stir_psir")
    with pytest.raises(BundleNotFoundError, match="no bundle of seg_sc_ms_lesion_stir_psir"):
        load("seg_sc_ms_lesion_stir_psir", retired=True)


def test_a_file_that_is_not_valid_is_an_error(models):
    add_task(models, "bad", TASK.replace("nnunet", "unheard of"))
    for read in (partial(find_bundle, "bad", models), partial(list_tasks, models)):
        with pytest.raises(BundleError, match=r"unheard of"):
            read()


def test_the_shipped_models_are_found():
    assert (models_directory() / "sc_gm_t2star" / "task.toml").is_file()
    assert {row[0] for row in ROWS} | {"sc_gm_t2star"} == {task.name for task in list_tasks()}


@pytest.mark.parametrize(("alias", "name"), PAIRS, ids=[alias for alias, _ in PAIRS])
def test_every_name_of_sct_resolves(alias, name):
    tasks = list_tasks()
    for spelling in (alias, alias.upper(), alias.replace("-", "_"), alias.replace("_", "-")):
        assert resolve(spelling, tasks).name == name


def test_no_alias_is_missing_in_this_table():
    names = {n for task in list_tasks() for n in (task.name, *task.aliases)}
    assert names == {alias for alias, _ in PAIRS} | {"sc_gm_t2star", "sc_gm_t2s"}
