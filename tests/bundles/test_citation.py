"""Citations: what is known of publications becomes BibTeX and text, and nothing else does."""

import re

import pytest
from helpers.bibtex import entries

from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.citation import FRAMEWORKS, Reference, bibtex, references_of, software
from deepseg_lite.bundles.publication import Publication
from deepseg_lite.store.tasks import list_tasks, resolve

TASKS = {task.name: task for task in list_tasks()}


@pytest.mark.parametrize(
    ("text", "doi", "arxiv", "url", "year", "key"),
    [
        (
            "Naga Karthik et al., SCIsegV2, AMAI at MICCAI (2025), 10.1007/978-3-031-82007-6_19",
            "10.1007/978-3-031-82007-6_19",
            None,
            "https://doi.org/10.1007/978-3-031-82007-6_19",
            "2025",
            "karthik2025",
        ),
        (
            "Journal (2025), 10.1162/IMAG.a.45 (SCT itself gives none)",
            "10.1162/IMAG.a.45",
            None,
            "https://doi.org/10.1162/IMAG.a.45",
            "2025",
            "journal2025",
        ),
        (
            "Šmíd et al., Title, arXiv 2110.06516 (2021)",
            None,
            "2110.06516",
            "https://arxiv.org/abs/2110.06516",
            "2021",
            "smid2021",
        ),
        (
            "Code, see https://example.org/a/b_c.",
            None,
            None,
            "https://example.org/a/b_c",
            None,
            "code",
        ),
        ("Perone CS. Title, Sci Rep 2018;8:5966", None, None, None, "2018", "perone2018"),
        ("In (see 10.1000/xyz123).", "10.1000/xyz123", None, "https://doi.org/10.1000/xyz123",
         None, "in"),
        ("日本", None, None, None, None, "model"),
    ],
)  # fmt: skip
def test_a_line_of_text_says_where_it_leads(text, doi, arxiv, url, year, key):
    found = Reference(text)
    assert (found.doi, found.arxiv, found.url, found.year) == (doi, arxiv, url, year)
    assert found.key == key


def test_entries_have_keys_of_their_own_and_no_signs_that_tex_takes_for_its_own():
    texts = ["A et al., 5 % of {x} & $y_z$ #1 (2020)", "A et al., other (2020)", "A et al., b"]
    document = bibtex(Reference(text) for text in [*texts, texts[0]])
    assert re.findall(r"@misc\{([^,]*),", document) == ["a2020", "a2020-2", "a"]
    assert r"note = {A et al., 5 \% of \{x\} \& \$y\_z\$ \#1 (2020)}," in document
    assert document.count("{") - document.count(r"\{") == document.count("}") - document.count(
        r"\}"
    )


def test_a_doi_is_not_escaped_and_its_sentence_links_it():
    reference = Reference("V et al., Imaging (2024), 10.1162/imag_a_00218")
    assert "doi = {10.1162/imag_a_00218}," in bibtex([reference])
    assert reference.sentence == (
        "V et al., Imaging (2024), [10.1162/imag_a_00218](https://doi.org/10.1162/imag_a_00218)."
    )


def test_a_model_is_cited_by_its_task_and_by_what_it_was_trained_with():
    task = TASKS["sc_gm_t2star"]
    for bundle in (None, read_bundle(task.bundle_path)):
        data, framework = references_of(bundle, task)
        assert data == Reference.to(task.citations[0])
        assert framework.doi == "10.1038/s41592-020-01008-z"


def test_what_a_bundle_says_goes_before_what_the_task_says(tmp_path):
    task = TASKS["sc_gm_t2star"]
    bundle = read_bundle(task.bundle_path)
    bundle.manifest["source"]["citation"] = "Somebody et al., Mine; and yours"
    texts = [reference.text for reference in references_of(bundle, task)]
    assert texts[0] == "Somebody et al., Mine; and yours"
    assert len(texts) == 2


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_entries_that_any_program_reads(name):
    references = references_of(None, resolve(name, list_tasks()))
    found = entries(bibtex([*references, software()]))
    assert len(found) == len(references) + 1
    for reference, (kind, fields) in zip(references, found.values(), strict=False):
        publication = reference.publication
        assert kind == publication.kind
        assert fields.get("title", "{}").strip("{}") == (publication.title or "")
        assert fields.get("author", "").count(" and ") == max(len(publication.authors) - 1, 0)
        for known, shown in ((publication.doi, "doi"), (publication.arxiv, "eprint")):
            assert fields.get(shown) == known
        assert publication.doi is None or re.fullmatch(r"10\.\d{4,9}/[\w./-]+", publication.doi)
        for fact in (publication.title, publication.journal, publication.doi, publication.year):
            assert fact is None or str(fact) in reference.text


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.citations])
def test_most_is_known_of_what_a_task_cites(name):
    for each in TASKS[name].citations:
        assert each.year or each.url
        assert each.doi or each.arxiv or each.url or each.booktitle
        if each.title and each.kind != "misc":
            assert each.authors


def test_an_article_is_told_in_full():
    article = Publication(
        authors=("Bédard, Sandrine", "The Consortium", "others"),
        title="Cords & 5 %",
        journal="Spine_J",
        volume="1",
        number="2",
        pages="3-14",
        year=2020,
        doi="10.1000/a_b",
        arxiv="2001.00001",
    )
    (entry,) = entries(bibtex([Reference.to(article)])).items()
    assert entry == (
        "bedard2020",
        (
            "article",
            {
                "author": "Bédard, Sandrine and {The Consortium} and others",
                "title": r"{Cords \& 5 \%}",
                "journal": r"Spine\_J",
                "volume": "1",
                "number": "2",
                "pages": "3--14",
                "year": "2020",
                "doi": "10.1000/a_b",
                "eprint": "2001.00001",
                "archiveprefix": "arXiv",
                "url": "https://doi.org/10.1000/a_b",
            },
        ),
    )
    assert article.text == "Bédard et al., Cords & 5 %, Spine_J 1(2):3-14 (2020), 10.1000/a_b"


@pytest.mark.parametrize(
    ("facts", "text", "kind"),
    [
        (
            {
                "authors": ("A B, C", "D, E"),
                "title": "T",
                "booktitle": "P",
                "pages": "7",
                "year": 1999,
            },
            "A B and D, T, P (1999), p. 7",
            "inproceedings",
        ),
        (
            {"title": "T", "booktitle": "P", "pages": "7-9", "doi": "10.1000/x"},
            "T, P, pp. 7-9, 10.1000/x",
            "inproceedings",
        ),
        (
            {"authors": ("A",), "title": "T", "arxiv": "2001.00001"},
            "A, T, arXiv 2001.00001",
            "misc",
        ),
        (
            {"title": "T", "howpublished": "Talk", "arxiv": "2001.00001"},
            "T, Talk, arXiv 2001.00001",
            "misc",
        ),
        ({"title": "T", "url": "https://a.org", "note": "N"}, "T, https://a.org (N)", "misc"),
    ],
)
def test_other_publications_are_told_in_one_line(facts, text, kind):
    publication = Publication(**facts)
    assert (publication.text, publication.kind) == (text, kind)


def test_frameworks_are_cited_by_their_articles():
    found = entries(bibtex(map(Reference.to, FRAMEWORKS.values())))
    assert list(found) == ["isensee2021", "cardoso2022", "gros2021"]


def test_the_software_is_cited_with_its_version():
    from importlib.metadata import version

    assert f"deepseg-lite {version('deepseg-lite')}" in software().text
