"""The training's random crops and changes as MONAI's dictionary transforms, to be used in a `Compose`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.transforms.traits import MultiSampleTrait
from monai.utils import MAX_SEED, convert_to_dst_type, convert_to_tensor
from torch import Tensor

from swin_unetr.config import AugmentConfig, SamplingConfig
from swin_unetr.tasks import Target, Task
from transforms.augment import change
from transforms.crops import RandomCrops, Sample, ScanInMemory, joined
from transforms.random_parameters import draw

#: Stands for any labels, none of which are exchanged.
_ANY = Task(name="any", modality="MR", channels=("image",), targets=(Target(name="any", labels=(1,), write_as=1),))


class RandomChangesd(Randomizable, MapTransform):  # type: ignore[misc]  # MONAI has no types
    """Random changes of a crop, as `finetune` makes them: mirrors, turns, rotation with zoom, intensity.

    What a rotation needs from beyond the crop is 0; `RandomCropsd` reads it from the scan. Tensors, MetaTensors and
    arrays come back as what they were. A MetaTensor keeps its affine.

    Args:
        keys: of the image, C x X x Y x Z.
        label_key: of encoded targets (`transforms.labels.encode_targets`) or of other whole numbers, C x X x Y x Z,
            which move with the image. If None, there is no label.
        augment: what is changed, and how often. Its `monai` is left out: in a `Compose` these follow by themselves.
        task: which structures are pairs; needed for `augment.exchange_sides`.
        seed: of the random numbers, until `set_random_state` or a loader of MONAI gives another one.
        allow_missing_keys: give data without image or label back as it is.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        label_key: Hashable | None = "label",
        *,
        augment: AugmentConfig,
        task: Task | None = None,
        seed: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ValueError(f"keys: one image with all channels is changed, got {self.keys}")
        if augment.exchange_sides and task is None:
            raise ValueError("task: augment.exchange_sides needs it")
        self._augment, self._task, self._label = augment, task or _ANY, label_key
        self.set_random_state(seed=seed)

    def randomize(self, data: Any = None) -> Tensor:
        """The random numbers of the next crop."""
        return draw(1, torch.Generator().manual_seed(int(self.R.randint(MAX_SEED, dtype="uint32"))))[0]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of the data with a changed image and label."""
        return self.changed(data, self.randomize())

    def changed(self, data: Mapping[Hashable, Any], draws: Tensor) -> dict[Hashable, Any]:
        """The same, by given random numbers.

        Args:
            data: with image and label.
            draws: `transforms.random_parameters.NUMBERS` of them.
        """
        found = dict(data)
        keys = [self.keys[0], *([] if self._label is None else [self._label])]
        if missing := [key for key in keys if key not in found]:
            if self.allow_missing_keys:
                return found
            raise KeyError(f"the data have no {missing[0]!r}, which RandomChangesd changes")
        image = convert_to_tensor(found[keys[0]], track_meta=False)
        label = image.new_zeros(1, *image.shape[1:], dtype=torch.uint8)
        if self._label is not None:
            label = convert_to_tensor(found[self._label], track_meta=False)
        x, y, z = image.shape[1:]
        crops = RandomCrops(SamplingConfig(crop_size=(x, y, z)), self._augment, self._task)
        sample = crops.read(ScanInMemory(image.float(), label), (0, 0, 0), draws)
        for key, value in zip(keys, _made([sample], self._augment)[0], strict=False):
            found[key] = convert_to_dst_type(value, found[key], dtype=value.dtype)[0]
        return found


class RandomCropsd(Randomizable, MapTransform, MultiSampleTrait):  # type: ignore[misc]
    """Random crops of a preprocessed scan with their changes, as `finetune` takes them.

    Args:
        keys: of the image, C x X x Y x Z.
        label_key: of encoded targets (`transforms.labels.encode_targets`).
        sampling: size, number and place of the crops.
        augment: what is changed, and how often. Its `monai` is left out: in a `Compose` these follow by themselves.
        task: how many targets there are, and which of them are pairs.
        seed: of the random numbers, until `set_random_state` or a loader of MONAI gives another one.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        label_key: Hashable = "label",
        *,
        sampling: SamplingConfig,
        augment: AugmentConfig,
        task: Task,
        seed: int = 0,
    ) -> None:
        MapTransform.__init__(self, keys)
        if len(self.keys) != 1:
            raise ValueError(f"keys: crops are taken of one image with all channels, got {self.keys}")
        self._crops, self._augment, self._label = RandomCrops(sampling, augment, task), augment, label_key
        self.set_random_state(seed=seed)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """A copy of the data for each crop, with its image and label as tensors."""
        generator = torch.Generator().manual_seed(int(self.R.randint(MAX_SEED, dtype="uint32")))
        image, label = (convert_to_tensor(data[key], track_meta=False) for key in (self.keys[0], self._label))
        samples = self._crops(ScanInMemory(image.float(), label), generator)
        return [{**data, self.keys[0]: crop, self._label: target} for crop, target in _made(samples, self._augment)]


def _made(samples: Sequence[Sample], augment: AugmentConfig) -> list[tuple[Tensor, Tensor]]:
    """Image and label of crops, with their changes made."""
    image, label, changes, wide = joined(samples, augment)
    change(image, label, changes.to(image.device), wide)
    return list(zip(image, label, strict=True))
