"""Names of structures that name a side of the body, and which two are mirror images of each other.

Left kidney, kidney_R, LungL, Lt parotid, Parotis_li; chambers of the heart (LV, RV) have sides, but no mirror image.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Side = Literal["left", "right"]

#: Words for the sides, in the languages in which hospitals name structures.
_LEFT = (
    "left lt lft l lh sin sinister sinistra sinistro sx links linke linker linkes gauche izquierdo izquierda esquerdo "
    "esquerda lewa lewy lewe vanster venstre левый левая левое левого левой"
)
_RIGHT = (
    "right rt rgt r rh dex dext dexter dextra destro destra dx rechts rechte rechter rechtes droit droite derecho "
    "derecha direito direita prawa prawy prawe hoger høyre højre правый правая правое правого правой"
)
_WORDS: dict[Side, frozenset[str]] = {"left": frozenset(_LEFT.split()), "right": frozenset(_RIGHT.split())}
#: Abbreviations that mean a side only where the other one of them is there too: left, right.
_SHORT = (("li", "re"), ("g", "d"), ("l", "p"), ("l", "d"), ("s", "d"), ("izq", "der"), ("esq", "dir"), ("sn", "dx"))
#: Characters that mean a side within a word.
_SIGNS = {"左": " left ", "右": " right ", "왼쪽": " left ", "오른쪽": " right ", "좌측": " left ", "우측": " right "}
#: Chambers and vessels of the heart, whose abbreviations include "left ..." or "right ...".
_HEARTS = "lv rv la ra lvm lvmyo lvbp rvbp lvc rvc laa raa lad lcx rca lpa rpa lvot rvot"
_OF_HEARTS = frozenset(_HEARTS.split())
#: Beginnings of words for what has a left and a right part that are not mirror images: of heart, liver and bowel.
_UNLIKE = re.compile(
    r"ventric|atri|auric|heart|cardi|coronar|myocard|herz|vorhof|kammer|coeur|corazon|cuore|aort|valve|"
    r"liver|hepat|leber|foie|higado|fegato|portal|colon|colic|flexur|gastric"
)
#: The lateral ventricles are those of the brain, which has two alike.
_LATERAL = re.compile(r"lat")
_AHEAD = frozenset(("anterior", "posterior", "front", "back", "frontal", "dorsal", "ventral"))
_ABOVE = frozenset(("superior", "inferior", "upper", "lower", "cranial", "caudal"))
#: L1 to L5 are vertebrae, and R1 a rib, where the name says so.
_SPINE = re.compile(r"vert|lumb|spin|disc|disk|rib|level|^c$|^th?$|^s$")
#: Words that end or begin like a side by chance.
_CHANCE = ("cleft", "bright", "upright")
#: Words: camel case, digits and punctuation part them.
_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")


@dataclass(frozen=True)
class MirrorImage:
    """What structures are in a mirror image along X."""

    #: For each structure the index of the one that it becomes: its partner, or itself if it has no side.
    partners: tuple[int, ...]
    #: Names that name a side, but whose partner cannot be told.
    unknown: tuple[str, ...]

    def pairs(self, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """The names of the structures that are exchanged, each pair once."""
        found = ((one, other) for one, other in enumerate(self.partners) if one < other)
        return tuple((names[one], names[other]) for one, other in found)


def sided_axes(names: Iterable[str], given: Iterable[tuple[str, str]] = ()) -> tuple[bool, bool, bool]:
    """Whether names distinguish the two ends of X (left, right), Y (front, back) and Z (above, below).

    Args:
        names: of the structures of a task.
        given: pairs that are known, as for `mirror_image`.
    """
    listed = list(names)
    told = mirror_image(listed, given)
    sided = bool(told.unknown) or any(one != other for one, other in enumerate(told.partners))
    words = [_words(name) for name in listed]
    ahead, above = ({word for of in words for word in of} & known for known in (_AHEAD, _ABOVE))
    return sided, bool(ahead), bool(above)


def mirror_image(names: Sequence[str], given: Iterable[tuple[str, str]] = ()) -> MirrorImage:
    """Which structures are exchanged in a mirror image along X.

    Two names are a pair if they are the same but for the side, in any spelling, and if no third name is. Left and
    right parts of heart, liver and bowel are no mirror images of each other: their partners are unknown.

    Args:
        names: of the structures of a task, in their order; all different.
        given: pairs that are known. A structure that is paired with itself stays what it is.
    """
    known = list(given)
    partners = list(range(len(names)))
    for one, other in known:
        first, second = names.index(one), names.index(other)
        partners[first], partners[second] = second, first
    settled = {name for pair in known for name in pair}
    asked = [index for index, name in enumerate(names) if name not in settled]
    readings = {index: list(_readings(names[index], names)) for index in asked}
    sided = {index for index in asked if _is_sided(_words(names[index]))}
    unlike = {index for index in asked if _is_unlike(_words(names[index]))}
    likely = {
        index: _opposites(index, readings, certain=True) or _opposites(index, readings, certain=False)
        for index in asked
    }
    unknown = []
    for index in asked:
        candidates = likely[index]
        mutual = len(candidates) == 1 and likely[min(candidates)] == {index}
        if mutual and unlike.isdisjoint((index, *candidates)):
            partners[index] = min(candidates)
        elif candidates or index in sided:
            unknown.append(names[index])
    return MirrorImage(tuple(partners), tuple(unknown))


class _Reading(NamedTuple):
    """One way to read a name: its side, and the rest of it."""

    side: Side
    rest: str
    #: Whether a word for the side says so, and not only that another name has the other side's letter.
    certain: bool


def _readings(name: str, names: Sequence[str]) -> Iterator[_Reading]:
    words = _words(name)
    for number, word in enumerate(words):
        others = [*words[:number], *words[number + 1 :]]
        if (found := _side_of(words, number)) is not None:
            side, within = found
            # A name may say its side twice; a name with both sides has two readings, none of which has a partner.
            rest = [other for place, other in enumerate(words) if place != number and not _says(words, place, side)]
            yield _Reading(side, "".join(sorted([*rest, *within])), certain=True)
        elif others and not _numbered(words, number):
            for pair in _SHORT:
                if word in pair and (len(word) > 1 or _letters(others, names) == 2):
                    yield _Reading("left" if word == pair[0] else "right", "".join(sorted(others)), certain=False)
    plain = "".join(words)
    for letter, stem in ((plain[:1], plain[1:]), (plain[-1:], plain[:-1])):
        if letter in ("l", "r") and len(stem) > 1:
            yield _Reading("left" if letter == "l" else "right", stem, certain=False)


def _opposites(index: int, readings: dict[int, list[_Reading]], *, certain: bool) -> set[int]:
    """The structures that are the same but for the side; only by words for it, or also by single letters."""
    mine = {(of.side, of.rest) for of in readings[index] if of.certain or not certain}
    return {
        other
        for other, theirs in readings.items()
        if other != index
        for of in theirs
        if (of.certain or not certain) and ("right" if of.side == "left" else "left", of.rest) in mine
    }


def _letters(others: Sequence[str], names: Sequence[str]) -> int:
    """How many names are these words and one letter: more than two (class d, class g, class k) are an enumeration."""
    rest = sorted(others)
    words = map(_words, names)
    return sum(
        any(len(word) == 1 and sorted([*of[:number], *of[number + 1 :]]) == rest for number, word in enumerate(of))
        for of in words
    )


def _words(name: str) -> list[str]:
    for sign, word in _SIGNS.items():
        name = name.replace(sign, word)
    # Accents are dropped: rein à gauche, but й stays й.
    plain = "".join(
        unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or letter
        for letter in unicodedata.normalize("NFC", name)
    )
    return [word.lower() for word in _WORD.findall(plain)]


def _is_sided(words: list[str]) -> bool:
    return any(word in _OF_HEARTS or _side_of(words, number) is not None for number, word in enumerate(words))


def _says(words: list[str], number: int, side: Side) -> bool:
    """Whether a word is the name of a side, and nothing else."""
    return _side_of(words, number) == (side, [])


def _side_of(words: list[str], number: int) -> tuple[Side, list[str]] | None:
    """The side that a word names, and what else it says: leftlung."""
    word = words[number]
    if word in ("l", "r") and _numbered(words, number) and (len(words) == 2 or any(map(_SPINE.search, words[:number]))):
        return None
    for side, known in _WORDS.items():
        if word in known:
            return side, []
        if word not in _CHANCE and len(word) > len("right"):
            for rest in (word.removeprefix(side), word.removesuffix(side)):
                if rest != word:
                    return side, [rest]
    return None


def _numbered(words: list[str], number: int) -> bool:
    return number + 1 < len(words) and words[number + 1].isdigit()


def _is_unlike(words: list[str]) -> bool:
    alike = "ventric" if any(map(_LATERAL.match, words)) else "-"
    return any(word in _OF_HEARTS or (_UNLIKE.match(word) and not word.startswith(alike)) for word in words)
