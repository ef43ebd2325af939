"""The one table of how structures are named in DICOM: `terminology.csv`, extended by the `terms` of a task.

Codes are SNOMED CT and NCI Thesaurus as pydicom's dictionary of DICOM's context groups has them. A structure without
a code that could be verified gets a private one, of the scheme 99SWINUNETR.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from swin_unetr.tasks import Task, Term

#: Scheme of codes that are nobody else's.
PRIVATE = "99SWINUNETR"
_TABLE = "terminology.csv"
_WORD = re.compile(r"[^\W_]+")


class Code(NamedTuple):
    """A coded concept of DICOM."""

    scheme: str
    value: str
    meaning: str


def code_of(text: str) -> Code:
    """The code in a text such as "SCT 78961009 Spleen"."""
    return Code(*text.split(maxsplit=2))


@cache
def table() -> tuple[Term, ...]:
    """The terms of `terminology.csv`, in its order."""
    text = files(__package__).joinpath(_TABLE).read_text(encoding="utf-8")
    return tuple(_term(row) for row in csv.DictReader(text.splitlines()))


def find_term(name: str, task: Task | None = None) -> Term:
    """The term of a structure: of its task, of the table, or a private one.

    Args:
        name: of the structure; its words count in any order and case, so that `kidney_right` is the right kidney.
        task: whose terms come first.
    """
    wanted = key(name)
    for term in (*(() if task is None else task.terms), *table()):
        if wanted in keys(term, task):
            return term
    digest = hashlib.sha256(" ".join(wanted).encode()).hexdigest()
    return Term(name=name, type=f"{PRIVATE} {digest[:12]} {name}", colour=f"#{digest[:6]}")


def is_private(term: Term) -> bool:
    """Whether the type of a term is coded by this program alone."""
    return code_of(term.type).scheme == PRIVATE


def private_names(names: Iterable[str], task: Task | None = None) -> list[str]:
    """Those of some structures that have a private code."""
    return [name for name in names if is_private(find_term(name, task))]


def keys(term: Term, task: Task | None = None) -> set[tuple[str, ...]]:
    """Everything that a structure of a term may be called, as `key` gives it."""
    found = {key(term.name)}
    for synonym in term.synonyms:
        of, _, name = synonym.rpartition("/")
        if not of or (task is not None and of.casefold() in task.name.casefold()):
            found.add(key(name))
    return found


def _term(row: dict[str, str]) -> Term:
    synonyms = row.pop("synonyms")
    return Term(synonyms=tuple(synonyms.split("; ")) if synonyms else (), **row)


def key(name: str) -> tuple[str, ...]:
    """The words of a name in alphabetical order, in lower case."""
    return tuple(sorted(_WORD.findall(name.casefold())))
