"""Publications: what is known of an article or a data set, and the line of text that tells it."""

from __future__ import annotations

from dataclasses import dataclass

OTHERS = "others"
"""Stands for the authors who are not named, as in BibTeX."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What is known of a publication; what is not known is None.

    Attributes
    ----------
    authors : tuple of str
        ``Family, Given``, or a name that has no parts; `OTHERS` may be the last.
    title : str or None
        Title, as printed.
    journal, booktitle, howpublished : str or None
        Where it appeared: in a journal, in proceedings, or in another way.
    publisher, address : str or None
        Publisher, and place.
    volume, number, pages : str or None
        ``pages`` are one, or two with a hyphen; or the number of an article.
    year : int or None
        Year.
    doi, arxiv, url : str or None
        DOI without an address before it; number at arXiv; another address.
    note : str or None
        Anything else.
    """

    authors: tuple[str, ...] = ()
    title: str | None = None
    journal: str | None = None
    booktitle: str | None = None
    howpublished: str | None = None
    publisher: str | None = None
    address: str | None = None
    volume: str | None = None
    number: str | None = None
    pages: str | None = None
    year: int | None = None
    doi: str | None = None
    arxiv: str | None = None
    url: str | None = None
    note: str | None = None

    @property
    def kind(self) -> str:
        """Return the kind of BibTeX's entry."""
        if self.journal:
            return "article"
        return "inproceedings" if self.booktitle else "misc"

    @property
    def first_author(self) -> str | None:
        """Return the family name of the first author."""
        return self.authors[0].partition(",")[0] if self.authors else None

    @property
    def text(self) -> str:
        """Return it as one line.

        >>> facts = {"journal": "J", "volume": "1", "number": "2", "pages": "3-4", "year": 2020}
        >>> Publication(authors=("Doe, Jo", "others"), title="Cords", doi="10.1000/x", **facts).text
        'Doe et al., Cords, J 1(2):3-4 (2020), 10.1000/x'
        """
        parts = [self._by, self.title, self._venue, self._pages, self._place]
        line = ", ".join(part for part in parts if part)
        return f"{line} ({self.note})" if self.note else line

    @property
    def _by(self) -> str | None:
        names = [author.partition(",")[0] for author in self.authors]
        if len(names) > 2 or OTHERS in names:
            return f"{names[0]} et al."
        return " and ".join(names) or None

    @property
    def _venue(self) -> str | None:
        venue = self.journal or self.booktitle or self.howpublished or self.publisher
        if self.journal and self.volume:
            venue = f"{venue} {self.volume}{f'({self.number})' if self.number else ''}"
            venue = f"{venue}:{self.pages}" if self.pages else venue
        if venue is None and self.arxiv:
            venue = f"arXiv {self.arxiv}"
        parts = [venue, f"({self.year})" if self.year else None]
        return " ".join(part for part in parts if part) or None

    @property
    def _pages(self) -> str | None:
        if not self.pages or (self.journal and self.volume):
            return None
        return f"{'pp.' if '-' in self.pages else 'p.'} {self.pages}"

    @property
    def _place(self) -> str | None:
        if self.doi:
            return self.doi
        has_venue = self.journal or self.booktitle or self.howpublished or self.publisher
        if self.arxiv:
            return f"arXiv {self.arxiv}" if has_venue else None
        return self.url
