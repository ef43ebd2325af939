"""Names of structures that name a side of the body: left kidney, kidney_R, LungL, Lt parotid, LV and RV."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Words, in the languages in which hospitals name structures.
_OF_SIDES = (
    "left right lt rt lft rgt l r lh rh sin dex dext sinister dexter sinistra dextra sinistro destro destra links "
    "linke linker rechts rechte rechter gauche droit droite izquierdo izquierda derecho derecha lewa lewy lewe prawa "
    "prawy prawe"
)
#: Chambers and vessels of the heart, whose abbreviations include "left ..." or "right ...".
_OF_HEARTS = "lv rv la ra lvm lvmyo lvbp rvbp lvc rvc laa raa lad lcx rca lpa rpa lvot rvot"
_SIDED = frozenset(f"{_OF_SIDES} {_OF_HEARTS}".split())
_AHEAD = frozenset(("anterior", "posterior", "front", "back", "frontal", "dorsal", "ventral"))
_ABOVE = frozenset(("superior", "inferior", "upper", "lower", "cranial", "caudal"))
#: L1 to L5 are vertebrae, and R1 a rib, where the name says so.
_SPINE = re.compile(r"vert|lumb|spin|disc|disk|rib|level|^c$|^th?$|^s$")
#: Words that end or begin like a side by chance.
_CHANCE = ("cleft", "bright", "upright")
#: Words: camel case, digits and punctuation part them.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def sided_axes(names: Iterable[str]) -> tuple[bool, bool, bool]:
    """Whether names distinguish the two ends of X (left, right), Y (front, back) and Z (above, below).

    Args:
        names: of the structures of a task.
    """
    listed = list(names)
    words = [_words(name) for name in listed]
    sided = any(_is_sided(of) for of in words) or _has_pair(listed)
    ahead, above = ({word for of in words for word in of} & known for known in (_AHEAD, _ABOVE))
    return sided, bool(ahead), bool(above)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _is_sided(words: list[str]) -> bool:
    for number, word in enumerate(words):
        before_digit = number + 1 < len(words) and words[number + 1].isdigit()
        if word in ("l", "r") and before_digit and (len(words) == 2 or any(map(_SPINE.search, words[:number]))):
            continue
        if word in _SIDED:
            return True
        joined = word not in _CHANCE and len(word) > len("right")
        if joined and (word.startswith(("left", "right")) or word.endswith(("left", "right"))):
            return True
    return False


def _has_pair(names: list[str]) -> bool:
    """Whether two names differ by an L and an R at the end or the beginning alone: lkidney and rkidney."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()) for name in names}
    partners = ({f"r{name[1:]}"} if name[:1] == "l" else set() for name in plain)
    ends = ({f"{name[:-1]}r"} if name[-1:] == "l" else set() for name in plain)
    return any(len(other) > 2 and other in plain for of in (*partners, *ends) for other in of)
