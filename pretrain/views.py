"""What the encoder sees of a batch of crops. Random numbers are drawn for the whole batch at once, on its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pretrain.config import JitterConfig


@dataclass(frozen=True, kw_only=True)
class Views:
    """Views of a batch, one view of every crop after the other: N = views x B."""

    #: N x C x X x Y x Z: what a view should look like, before anything was cut out of it.
    whole: Tensor
    #: The same shape: what the encoder gets.
    seen: Tensor
    #: N, int64: the scan of each view.
    scan: Tensor
    #: How many views there are of each crop.
    count: int
    #: What a task has done to the views, by a name of its own; it needs this to judge its output.
    notes: Mapping[str, Tensor] = field(default_factory=dict)

    def with_notes(self, *, whole: Tensor | None = None, seen: Tensor | None = None, **notes: Tensor) -> Views:
        """The views as a task has changed them.

        Args:
            whole: what they should look like now. If None, as before.
            seen: what the encoder gets now. If None, as before.
            notes: what the task has done, each N x ...
        """
        whole, seen = self.whole if whole is None else whole, self.seen if seen is None else seen
        return replace(self, whole=whole, seen=seen, notes={**self.notes, **notes})


def start_views(image: Tensor, scan: Tensor, count: int, jitter: JitterConfig, generator: torch.Generator) -> Views:
    """The views before any task has changed them.

    Args:
        image: B x C x X x Y x Z.
        scan: B, index of the scan of each.
        count: views of each crop.
        jitter: change of their intensities, a different one for each view.
        generator: on the device of the image.
    """
    whole = torch.cat([image] * count) if count > 1 else image
    if jitter.probability:
        whole = jittered(whole, jitter, generator)
    return Views(whole=whole, seen=whole, scan=scan.repeat(count), count=count)


def jittered(image: Tensor, jitter: JitterConfig, generator: torch.Generator) -> Tensor:
    """Scale and shift the intensities of each of N x C x X x Y x Z, all its channels together."""
    # The numbers of the whole batch in one draw: amount and chance of the scale, and of the shift.
    scale, use_scale, shift, use_shift = uniform((4, len(image), 1, 1, 1, 1), generator)
    factor = 1 + (2 * scale - 1) * jitter.scale * (use_scale < jitter.probability)
    addend = (2 * shift - 1) * jitter.shift * (use_shift < jitter.probability)
    return torch.addcmul(addend, image, factor)


def turned(views: Views, turns: Tensor, axes: tuple[int, int]) -> Views:
    """Turn views by quarters, each as `torch.rot90` does with its number.

    Args:
        views: nothing was cut out of them yet.
        turns: N numbers from 0 to 3; only 0 and 2 if the views are not square in the plane.
        axes: of the tensor; the first is turned towards the second.
    """
    image, (first, second) = views.whole, axes
    number = turns.view(-1, 1, 1, 1, 1)
    if image.shape[first] == image.shape[second]:
        image = torch.where(number % 2 == 1, image.transpose(first, second), image)
    # A quarter turn is a transposition and a mirroring; on the device, so that the host does not wait for the numbers.
    image = torch.where((number == 1) | (number == 2), image.flip(first), image)
    image = torch.where(number >= 2, image.flip(second), image)
    return views.with_notes(whole=image, seen=image, turns=turns)


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Numbers in 0..1, 1 excluded, on the device of the generator."""
    return torch.rand(shape, generator=generator, device=generator.device)


def normal_like(image: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise of the shape and type of an image."""
    return torch.randn(image.shape, generator=generator, device=generator.device, dtype=image.dtype)
