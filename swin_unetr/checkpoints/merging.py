"""Brings weights of patch merging to another order of the neighbours; the function stays the same."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from swin_unetr.config import MergingForm, Triple
from swin_unetr.networks.swin_encoder import merging_order

#: Tensors of MONAI's patch merging whose last axis is the neighbours' channels, one neighbour after the other.
_OF_MERGING = re.compile(r"\.downsample\.(?:norm\.weight|norm\.bias|reduction\.weight)$")


def in_order(tensor: Tensor, name: str, source: Sequence[Triple], form: MergingForm) -> Tensor | None:
    """A tensor of patch merging, its last axis in the order of another form.

    Args:
        tensor: ... x (neighbours * channels).
        name: MONAI's.
        source: the order that it has.
        form: whose order it shall have; of the same neighbours.

    Returns:
        The tensor; None if it does not belong to patch merging, or would stay as it is.
    """
    wanted = merging_order(form, (2, 2, 2))
    if not _OF_MERGING.search(name) or tuple(source) == wanted:
        return None
    places = torch.tensor([source.index(offset) for offset in wanted])
    parts = tensor.reshape(*tensor.shape[:-1], len(source), -1)
    return parts.index_select(-2, places).reshape(tensor.shape)
