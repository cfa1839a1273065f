"""Citations: what to cite for a model, as plain sentences and as BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.publication import OTHERS, Publication
from deepseg_lite.bundles.task_file import Task

_DOI = re.compile(r"\b10\.\d{4,9}/[^\s,;<>\"{}\\]+[^\s,;.:<>()\"{}\\]")
_ARXIV = re.compile(r"\barxiv[: ]*(\d{4}\.\d{4,5})", re.IGNORECASE)
_URL = re.compile(r"\bhttps?://[^\s,;<>\"{}\\]+[^\s,;.<>()\"{}\\]")
_YEAR = re.compile(r"\((?:19|20)\d\d\)|\b(?:19|20)\d\d;")
_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip

FRAMEWORKS = {
    "nnunet": Publication(
        authors=(
            "Isensee, Fabian",
            "Jaeger, Paul F.",
            "Kohl, Simon A. A.",
            "Petersen, Jens",
            "Maier-Hein, Klaus H.",
        ),
        title="nnU-Net: a self-configuring method for deep learning-based biomedical image "
        "segmentation",
        journal="Nature Methods",
        volume="18",
        number="2",
        pages="203-211",
        year=2021,
        doi="10.1038/s41592-020-01008-z",
    ),
    "monai": Publication(
        authors=("Cardoso, M. Jorge", "Li, Wenqi", "Brown, Richard", "Ma, Nic", OTHERS),
        title="MONAI: An open-source framework for deep learning in healthcare",
        year=2022,
        arxiv="2211.02701",
    ),
    "ivadomed": Publication(
        authors=(
            "Gros, Charley",
            "Lemay, Andreanne",
            "Vincent, Olivier",
            "Rouhier, Lucas",
            "Bourget, Marie-Helene",
            "Bucquet, Anthime",
            "Cohen, Joseph Paul",
            "Cohen-Adad, Julien",
        ),
        title="ivadomed: A Medical Imaging Deep Learning Toolbox",
        journal="Journal of Open Source Software",
        volume="6",
        number="58",
        pages="2868",
        year=2021,
        doi="10.21105/joss.02868",
    ),
}
"""What to cite for the software that a model was trained with, by its family."""


@dataclass(frozen=True)
class Reference:
    """Something to cite; nothing is added to what its source says.

    Attributes
    ----------
    text : str
        Whole citation in one line: of a publication its `Publication.text`, or as a bundle's
        source words it.
    publication : Publication or None
        Its parts; None where the line is all that is known.
    """

    text: str
    publication: Publication | None = None

    @classmethod
    def to(cls, publication: Publication) -> Reference:
        """Return the reference to a publication."""
        return cls(publication.text, publication)

    @property
    def doi(self) -> str | None:
        """Return the DOI, where there is one."""
        return self._named("doi", _DOI)

    @property
    def arxiv(self) -> str | None:
        """Return the number at arXiv, where there is one."""
        return self._named("arxiv", _ARXIV)

    @property
    def url(self) -> str | None:
        """Return the address that the DOI or number leads to, or another that is named."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return self._named("url", _URL)

    @property
    def year(self) -> str | None:
        """Return the year; in a line of text it stands in brackets or before a volume."""
        if self.publication:
            return str(self.publication.year) if self.publication.year else None
        found = _YEAR.findall(self.text)
        return found[-1].strip("();") if found else None

    @property
    def key(self) -> str:
        """Return how BibTeX may call it: the first author's name or the first word, and the year.

        >>> Reference("Valošek et al., Imaging Neuroscience (2024), 10.1162/imag_a_00218").key
        'valosek2024'
        """
        authors = self.text.partition(" et al.")[0] if " et al." in self.text else ""
        word = authors.split()[-1] if authors.split() else self.text.split()[0]
        if self.publication and self.publication.first_author:
            word = self.publication.first_author
        letters = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
        return re.sub(r"[^a-z0-9]", "", letters.lower()) + (self.year or "") or "model"

    @property
    def sentence(self) -> str:
        """Return it for a list of references, its address as a link of Markdown."""
        text = self.text.rstrip(". ")
        for named in (self.doi, self.arxiv):
            if named and self.url:
                return text.replace(named, f"[{named}]({self.url})") + "."
        return f"{text}."

    def entry(self, key: str) -> str:
        """Return the entry of BibTeX of that key; a line alone is its note."""
        known = self.publication or Publication(note=self.text)
        pages = known.pages and known.pages.replace("-", "--")
        facts = {
            "author": " and ".join(map(_author, known.authors)),
            "key": "" if known.authors else key,
            "title": known.title and f"{{{_escaped(known.title)}}}",  # as printed, no lower case
            "journal": _escaped(known.journal),
            "booktitle": _escaped(known.booktitle),
            "howpublished": _escaped(known.howpublished),
            "publisher": _escaped(known.publisher),
            "address": _escaped(known.address),
            "volume": known.volume,
            "number": known.number,
            "pages": pages,
            "note": _escaped(known.note),
            "year": self.year,
            "doi": self.doi,
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else None,
            "url": self.url,
        }
        rows = [f"  {name} = {{{value}}},\n" for name, value in facts.items() if value]
        return f"@{known.kind}{{{key},\n{''.join(rows)}}}\n"

    def _named(self, what: str, pattern: re.Pattern[str]) -> str | None:
        """Return a DOI or its like: of the publication, or the one that the line names."""
        if self.publication:
            value: str | None = getattr(self.publication, what)
            return value
        found = pattern.search(self.text)
        return found[found.lastindex or 0] if found else None


def references_of(bundle: Bundle | None, task: Task | None) -> list[Reference]:
    """Return what a model and the software it was trained with want to be cited by.

    Parameters
    ----------
    bundle : Bundle, optional
        Model; what its source says goes before what the task says.
    task : Task, optional
        Task of the model.
    """
    cited = [Reference.to(publication) for publication in task.citations] if task else []
    families = [stage.family for stage in task.releases[0].stages] if task else []
    if bundle is not None:
        source = bundle.manifest["source"]
        families = [source["family"]]
        if source["citation"] not in (None, task.citation if task else None):
            cited = [Reference(source["citation"])]
    known = [FRAMEWORKS[name] for name in dict.fromkeys(families) if name in FRAMEWORKS]
    return cited + list(map(Reference.to, known))


def software() -> Reference:
    """Return how this software is cited, its version named."""
    title = (
        f"deepseg-lite {version('deepseg-lite')}, segmentation of spinal cord MRI on ONNX Runtime"
    )
    return Reference.to(Publication(title=title))


def bibtex(references: Iterable[Reference]) -> str:
    """Return entries of BibTeX, each with a key of its own; what is there twice is told once."""
    entries, keys = [], set()
    for reference in dict.fromkeys(references):
        key = next(key for key in _keys(reference.key) if key not in keys)
        keys.add(key)
        entries.append(reference.entry(key))
    return "\n".join(entries)


def _author(name: str) -> str:
    """Return a name for BibTeX, which must not take one without parts apart."""
    whole = "," not in name and name != OTHERS
    return f"{{{_escaped(name)}}}" if whole else _escaped(name)


def _escaped(text: str | None) -> str:
    return "".join(_TEX.get(sign, sign) for sign in text or "")


def _keys(key: str) -> Iterator[str]:
    yield key
    yield from (f"{key}-{number}" for number in count(2))
