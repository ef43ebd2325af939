"""From a scan in memory to labels in memory, both on the scan's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.errors import DataError
from swin_unetr.inference.device import choose_compute, memory_errors_in_words
from swin_unetr.inference.models import Member, ModelArgument, load_ensemble
from swin_unetr.inference.sliding_window import slide
from swin_unetr.inference.windows import lay_windows
from transforms.geometry import Geometry, Volume
from transforms.invert import to_source_grid
from transforms.labels import decode_one_by_one
from transforms.preprocess import preprocess_volume

#: Called with the number of windows that are done, and of all.
OnWindows = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What came of a scan, on its own grid in stored order."""

    #: X x Y x Z label values, unsigned integers.
    labels: NDArray[Any]
    #: Classes x X x Y x Z, float32; none where they were not asked for.
    probabilities: NDArray[np.float32] | None = None


class Predictor:
    """Segments scans with one model, or with the mean of several models' probabilities.

    Args:
        models: model folders, run folders (their `best/`), or loaded models; one or a sequence.
        device: "auto" (the first CUDA GPU, else the CPU), "cpu", "cuda", "cuda:N" or "mps".
        precision: "float32", "bfloat16", or "auto": bfloat16 on a GPU that computes in it, else float32.
        overlap: share of a window that overlaps its neighbour; none takes each model's own.
        roi_size: size of a window in voxels X, Y, Z; none takes each model's own.
        tta: whether to average over mirror images along the axes that the model's training mirrored; none takes
            each model's own.
        batch_size: windows in one pass of the network; none takes each model's own.

    Raises:
        ConfigError: an option that cannot be had, or models that do not go together.
        CheckpointError: a folder that holds no usable model.
    """

    def __init__(
        self,
        models: ModelArgument | Sequence[ModelArgument],
        *,
        device: str = "auto",
        precision: str = "auto",
        overlap: float | None = None,
        roi_size: Triple | None = None,
        tta: bool | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.compute = choose_compute(device, precision)
        self.ensemble = load_ensemble(
            models, self.compute, overlap=overlap, roi_size=roi_size, tta=tta, batch_size=batch_size
        )
        self.task = self.ensemble.task

    def predict_volume(self, volume: Volume, on_windows: OnWindows | None = None) -> NDArray[Any]:
        """Label values of a scan, X x Y x Z in its stored order; see `segment`."""
        return self.segment(volume, on_windows=on_windows).labels

    def segment(
        self, volume: Volume, *, with_probabilities: bool = False, on_windows: OnWindows | None = None
    ) -> Segmentation:
        """Segment a scan.

        Args:
            volume: channels x X x Y x Z as stored, in the order of the task's channels, with its geometry.
            with_probabilities: whether to give the probabilities too; they take classes x voxels x 4 bytes.
            on_windows: told of the progress.

        Raises:
            DataError: wrong number of channels, or not enough memory.
        """
        channels = self.task.channels
        if volume.array.shape[0] != len(channels):
            raise DataError(
                f"a scan with {volume.array.shape[0]} channels where the model wants {len(channels)}: "
                f"{', '.join(channels)}"
            )
        with memory_errors_in_words(self.compute.device), torch.inference_mode():
            image = preprocess_volume(volume, self.ensemble.preprocess)
            return self._to_source(self._probabilities(image, on_windows), image, volume.geometry, with_probabilities)

    def _probabilities(self, image: MetaTensor, on_windows: OnWindows | None) -> Tensor:
        """Mean over models of the mean over mirror images, classes x X x Y x Z on the preprocessed grid."""
        plain = image.as_tensor().to(self.compute.device)
        members = self.ensemble.members
        x, y, z = plain.shape[1:]
        total = sum(len(lay_windows((x, y, z), member.inference)) * len(_mirrorings(member)) for member in members)
        done = 0

        def count(windows: int) -> None:
            nonlocal done
            done += windows
            if on_windows is not None:
                on_windows(done, total)

        mean: Tensor | None = None
        for member in members:
            axes_of_passes = _mirrorings(member)
            for axes in axes_of_passes:
                scores = slide(plain.flip(axes), self._computing(member), member.inference, count)
                term = self._activate(scores).flip(axes).div_(len(members) * len(axes_of_passes))
                mean = term if mean is None else mean.add_(term)
        assert mean is not None
        return mean

    def _computing(self, member: Member) -> Callable[[Tensor], Tensor]:
        """The network of a member, to its scores."""

        def call(windows: Tensor) -> Tensor:
            result = member.backend(windows)
            return result if member.head is None else torch.stack([member.head(each) for each in result])

        return call

    def _activate(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=0) if self.task.activation == "softmax" else scores.sigmoid()

    def _to_source(self, maps: Tensor, image: MetaTensor, geometry: Geometry, keep: bool) -> Segmentation:
        """Back to the source grid, one channel at a time: all of them there would be the largest thing in memory."""
        kept = np.empty((len(maps), *geometry.shape), np.float32) if keep else None

        def channel(index: int) -> Tensor:
            on_source = to_source_grid(maps[index : index + 1], image, geometry)[0].cpu()
            if kept is not None:
                kept[index] = on_source.numpy()
            return on_source

        labels = decode_one_by_one(channel, self.task, geometry.shape).numpy()
        if kept is not None and self.task.activation == "softmax":
            kept[0][~kept.any(axis=0)] = 1  # left out by the foreground crop, and so 0 everywhere: background
        return Segmentation(labels, kept)


def _mirrorings(member: Member) -> tuple[tuple[int, ...], ...]:
    """Dimensions of C x X x Y x Z that each pass mirrors: none, or with `tta` every choice among the model's axes."""
    axes = [axis + 1 for axis in member.inference.mirror_axes]
    choices = chain.from_iterable(combinations(axes, number) for number in range(len(axes) + 1))
    return tuple(choices) if member.inference.tta else ((),)
