"""Citations: what to cite for a model, as plain sentences and as BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count

from deepseg_lite.bundles.bundle import Bundle
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
    "nnunet": "Isensee et al., nnU-Net: a self-configuring method for deep learning-based "
    "biomedical image segmentation, Nature Methods 18:203-211 (2021), 10.1038/s41592-020-01008-z",
    "monai": "Cardoso et al., MONAI: an open-source framework for deep learning in healthcare, "
    "arXiv 2211.02701 (2022)",
    "ivadomed": "Gros et al., ivadomed: a medical imaging deep learning toolbox, Journal of Open "
    "Source Software 6(58):2868 (2021), 10.21105/joss.02868",
}
"""What to cite for the software that a model was trained with, by its family."""


@dataclass(frozen=True)
class Reference:
    """Something to cite, known by one line of text; nothing is added to what that says.

    Attributes
    ----------
    text : str
        Whole citation, as its source words it.
    """

    text: str

    @property
    def doi(self) -> str | None:
        """Return the DOI that the text names."""
        found = _DOI.search(self.text)
        return found[0] if found else None

    @property
    def arxiv(self) -> str | None:
        """Return the number of the arXiv that the text names."""
        found = _ARXIV.search(self.text)
        return found[1] if found else None

    @property
    def url(self) -> str | None:
        """Return the address that the text names, or that its DOI or number leads to."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        found = _URL.search(self.text)
        return found[0] if found else None

    @property
    def year(self) -> str | None:
        """Return the year, which stands in brackets or before a volume."""
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


def references_of(bundle: Bundle | None, task: Task | None) -> list[Reference]:
    """Return what a model and the software it was trained with want to be cited by.

    Parameters
    ----------
    bundle : Bundle, optional
        Model; what its source says goes before what the task says.
    task : Task, optional
        Task of the model.
    """
    texts = list(task.citations) if task else []
    families = [stage.family for stage in task.releases[0].stages] if task else []
    if bundle is not None:
        source = bundle.manifest["source"]
        families = [source["family"]]
        if source["citation"] not in (None, "; ".join(texts)):
            texts = [source["citation"]]
    texts += [FRAMEWORKS[name] for name in dict.fromkeys(families) if name in FRAMEWORKS]
    return [Reference(text) for text in texts]


def software() -> Reference:
    """Return how this software is cited, its version named."""
    number = version("deepseg-lite")
    return Reference(f"deepseg-lite {number}, segmentation of spinal cord MRI on ONNX Runtime")


def bibtex(references: Iterable[Reference]) -> str:
    """Return entries of BibTeX, each with a key of its own; what is there twice is told once.

    An entry has the whole text as its note, since authors, title and journal are not told apart.
    """
    entries, keys = [], set()
    for reference in dict.fromkeys(references):
        key = next(key for key in _keys(reference.key) if key not in keys)
        keys.add(key)
        facts = {
            "key": key,
            "note": "".join(_TEX.get(sign, sign) for sign in reference.text),
            "year": reference.year,
            "doi": reference.doi,
            "eprint": reference.arxiv,
            "archiveprefix": "arXiv" if reference.arxiv else None,
            "url": reference.url,
        }
        rows = [f"  {name} = {{{value}}},\n" for name, value in facts.items() if value]
        entries.append(f"@misc{{{key},\n{''.join(rows)}}}\n")
    return "\n".join(entries)


def _keys(key: str) -> Iterator[str]:
    yield key
    yield from (f"{key}-{number}" for number in count(2))
