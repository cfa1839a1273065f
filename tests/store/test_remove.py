"""Bundles on their way out of the local cache, with the steps that only they need."""

from __future__ import annotations

import json

import pytest
from helpers.bundles import write_bundle

from deepseg_lite.errors import BundleNotFoundError
from deepseg_lite.store import cache
from deepseg_lite.store.installed import remove


def _install(name: str, *, needs: str | None = None) -> None:
    folder = cache.bundle_directory(name)
    if needs is None:
        write_bundle(folder, name=name)
        return
    prior = {"bundle": needs, "channels": ["t1"]}
    steps = [{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}]
    write_bundle(folder, "channels", name=name, prior=prior, preprocessing=steps)


def _installed() -> list[str]:
    return sorted(path.name for path in (cache.home() / "bundles").iterdir())


@pytest.fixture
def pair() -> None:
    """Install a model with a companion."""
    _install("lesion", needs="lesion.cord")
    _install("lesion.cord")


@pytest.mark.usefixtures("pair")
def test_what_only_the_bundle_needs_goes_with_it():
    _install("other")
    freed = remove("lesion")
    assert list(freed) == ["lesion", "lesion.cord"]
    assert all(size > 0 for size in freed.values())
    assert _installed() == ["other"]


@pytest.mark.usefixtures("pair")
def test_what_another_bundle_needs_stays():
    _install("tumor", needs="lesion.cord")
    assert list(remove("lesion")) == ["lesion"]
    assert _installed() == ["lesion.cord", "tumor"]


@pytest.mark.usefixtures("pair")
def test_a_companion_that_is_asked_for_goes_though_it_is_needed():
    assert list(remove("lesion.cord")) == ["lesion.cord"]
    assert list(remove("lesion")) == ["lesion"]


@pytest.mark.usefixtures("pair")
def test_an_unrelated_bundle_that_is_named_stays():
    """A manifest from a stranger decides about its own companions alone (fault 8)."""
    _install("stranger", needs="lesion.cord")
    remove("lesion")
    assert list(remove("stranger")) == ["stranger"]
    assert _installed() == ["lesion.cord"]


def test_a_broken_bundle_goes_alone():
    _install("good", needs="good.step")
    _install("good.step")
    (cache.bundle_directory("good") / "manifest.json").write_text("{}")
    assert list(remove("good")) == ["good"]


def test_what_is_not_there_is_an_error():
    with pytest.raises(BundleNotFoundError, match="nothing was removed"):
        remove("lesion")


@pytest.mark.usefixtures("pair")
def test_the_command_says_what_it_removed(command):
    done = command("remove", "lesion")
    assert (done.code, done.err) == (0, "")
    assert [line.partition(":")[0] for line in done.out.splitlines()] == [
        "lesion",
        "lesion.cord",
    ]


@pytest.mark.usefixtures("pair")
def test_the_report_names_all_and_adds_up_their_sizes(command):
    sizes = [
        sum(file.stat().st_size for file in cache.bundle_directory(name).iterdir())
        for name in ("lesion", "lesion.cord")
    ]
    done = command("remove", "lesion", "--json")
    (result,) = json.loads(done.out)["results"]
    assert result["name"] == "lesion"
    assert result["removed"] == ["lesion", "lesion.cord"]
    assert result["freed"] == sum(sizes)
