"""Names of input channels that mean the same: T2-FLAIR and flair, T1ce and t1c of BraTS 2023."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from swin_unetr.datasets.faults import ChannelMissingError

#: What each sequence is called, in lower case and without punctuation.
_SYNONYMS = {
    "flair": "flair t2flair flairt2 t2f fluidattenuatedinversionrecovery",
    "t1ce": "t1ce t1gd t1c t1post t1wce t1wgd t1wc t1cw t1wpost t1contrast t1km t1kw t1gado cet1 cet1w gdt1",
    "t1": "t1 t1w t1n t1native t1pre t1weighted",
    "t2": "t2 t2w t2weighted",
    "pd": "pd pdw protondensity",
    "dwi": "dwi diffusion trace",
    "adc": "adc adcmap apparentdiffusioncoefficient",
    "swi": "swi susceptibility",
    "ct": "ct computedtomography",
    "pet": "pet pt fdgpet petfdg positronemissiontomography",
    "mr": "mr mri",
}
_MEANING = {name: meaning for meaning, names in _SYNONYMS.items() for name in names.split()}


def meaning(name: str) -> str:
    """What a channel's name means: the same for names that differ in case, punctuation or convention."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    bare = re.sub(r"^mri?(?=[a-z0-9])", "", plain)
    return _MEANING.get(plain) or _MEANING.get(bare) or plain or name


def is_known(name: str) -> bool:
    """Whether a name is that of a sequence or modality, not only of a file."""
    return meaning(name) in _SYNONYMS


def match_channels(there: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...] | None:
    """Where the wanted channels are among those that are there.

    Args:
        there: names, in their order.
        wanted: names, in the wanted order.

    Returns:
        The index of each wanted one; None if one is missing, or if it could be two of those that are there.
    """
    places = []
    for name in wanted:
        same = [index for index, other in enumerate(there) if other == name]
        found = same or [index for index, other in enumerate(there) if meaning(other) == meaning(name)]
        if len(found) != 1:
            return None
        places.append(found[0])
    return tuple(places) if len(set(places)) == len(places) else None


def complete(root: Path, case: str, files: Mapping[str, Path], channels: tuple[str, ...]) -> tuple[Path, ...]:
    """The files of a case in the order of the channels.

    Raises:
        DataError: names the channels that are missing.
    """
    if missing := [channel for channel in channels if channel not in files]:
        raise ChannelMissingError(
            f"{root}: case {case!r} lacks {', '.join(missing)}, which others have; add it or leave the case out"
        )
    return tuple(files[channel] for channel in channels)
