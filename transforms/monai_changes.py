"""MONAI's dictionary transforms that a recipe lists (`augment.monai`): looked up by name, checked, made with own seeds.

A recipe holds values. Names are looked up among the classes of `monai.transforms` that change images, and nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import monai.transforms
import torch
from monai.transforms import Compose, MapTransform, Transform
from monai.transforms.traits import MultiSampleTrait
from monai.utils import convert_to_tensor
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.errors import ConfigError
from swin_unetr.suggestions import listed_with_nearest
from swin_unetr.tasks import Task
from transforms.labels import target_type

#: An entry of `AugmentConfig.monai`.
Listed = Mapping[str, Mapping[str, Any] | None]

_FIELD = "augment.monai"
_IMAGE, _LABEL = "image", "label"
#: Where classes are defined that change intensities, and those that move voxels.
_OF_INTENSITY = ("monai.transforms.intensity.", "monai.transforms.smooth_field.")
_MOVING = ("monai.transforms.spatial.", "monai.transforms.croppad.")
#: Classes that are defined elsewhere than the others of their kind.
_INTENSITY_TOO = frozenset(("RandSimulateLowResolutiond", "ImageFilterd", "RandImageFilterd"))
_MOVING_TOO = frozenset(("RandSmoothDeformd",))
#: With these seeds a recipe is tried out.
_TRIALS = range(4)


class MonaiChanges:
    """The transforms of a recipe, made one after the other with a seed for each crop.

    Args:
        listed: names and arguments, in their order.

    Raises:
        ConfigError: one that is unknown, does not change images, or has wrong arguments.
    """

    def __init__(self, listed: Sequence[Listed]) -> None:
        self._all = Compose([_built(*_entry(of)) for of in listed])

    def __call__(self, image: Tensor, label: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Change a crop.

        Args:
            image: C x X x Y x Z, float32, on the host.
            label: encoded targets.
            seed: of its random changes.

        Raises:
            ConfigError: a transform fails, or the crop has another shape afterwards.
        """
        self._all.set_random_state(seed=seed)
        return _made(self._all, image, label)


def try_monai_changes(listed: Sequence[Listed], task: Task, size: Triple) -> None:
    """Make each change of a recipe on a made-up crop, whatever its probability.

    Args:
        listed: names and arguments, in their order.
        task: how many channels images have, and what labels hold.
        size: of a crop, voxels along X, Y, Z.

    Raises:
        ConfigError: a transform that fails, changes the shape, or gives labels that were not there.
    """
    if not listed:
        return
    generator = torch.Generator().manual_seed(0)
    top = 1 if task.activation == "sigmoid" else len(task.targets)
    channels = len(task.targets) if task.activation == "sigmoid" else 1
    image = torch.rand((len(task.channels), *size), generator=generator)
    label = (top * torch.randint(2, (channels, *size), generator=generator)).to(target_type(task))
    for name, arguments in map(_entry, listed):
        certain = {"prob": 1.0} if "prob" in inspect.signature(_found(name)).parameters else {}
        change = _built(name, {**arguments, **certain})
        for seed in _TRIALS:
            each = Compose([change])
            each.set_random_state(seed=seed)
            _made(each, image.clone(), label.clone(), allowed=(0, top))


def _made(change: Compose, image: Tensor, label: Tensor, allowed: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """A crop after a change; its labels must be among the allowed ones, if there are any."""
    names = ", ".join(type(of).__name__ for of in change.transforms)
    try:
        changed = change({_IMAGE: image, _LABEL: label})
        new, labels = (convert_to_tensor(changed[key], track_meta=False) for key in (_IMAGE, _LABEL))
    except Exception as error:  # whatever MONAI raises, a recipe asked for it
        raise ConfigError(f"{_FIELD}: {names}: fails on a crop of {_shape(image)}: {_cause(error)}") from error
    for before, after in ((image, new), (label, labels)):
        if after.shape != before.shape:
            raise ConfigError(
                f"{_FIELD}: {names}: makes {_shape(after)} of a crop of {_shape(before)}; its shape must not change"
            )
    if allowed and not bool(torch.isin(labels, torch.tensor(allowed, dtype=labels.dtype)).all()):
        raise ConfigError(
            f"{_FIELD}: {names}: gives labels that were not there; give a mode for each key, as in keys: [image, "
            "label], mode: [bilinear, nearest]"
        )
    return new.to(image.dtype).contiguous(), labels.to(label.dtype).contiguous()


def _entry(of: Listed) -> tuple[str, Mapping[str, Any]]:
    ((name, arguments),) = of.items()
    return name, arguments or {}


def _built(name: str, arguments: Mapping[str, Any]) -> MapTransform:
    cls = _found(name)
    parameters = inspect.signature(cls).parameters
    known = {name for name, of in parameters.items() if of.kind is not of.VAR_KEYWORD}
    unknown = [argument for argument in arguments if argument not in known]
    if unknown and len(known) == len(parameters):
        raise ConfigError(f"{_FIELD}: {name} has no argument {listed_with_nearest(unknown, known)}")
    keys = _keys(name, cls, arguments)
    try:
        return cls(**{**arguments, "keys": keys})
    except Exception as error:
        raise ConfigError(f"{_FIELD}: {name}: {_cause(error)}") from error


def _found(name: str) -> type[MapTransform]:
    """The class of a name.

    Raises:
        ConfigError: there is none, or it does not change images.
    """
    cls = vars(monai.transforms).get(name)
    if not isinstance(cls, type) or not issubclass(cls, Transform):
        known = [other for other, of in vars(monai.transforms).items() if _is_dictionary(of) and other.endswith("d")]
        raise ConfigError(f"{_FIELD}: monai.transforms has no {listed_with_nearest([name], known)}")
    if not _is_dictionary(cls):
        other = f"{name}d"
        hint = f"; take {other}" if _is_dictionary(vars(monai.transforms).get(other)) else ""
        raise ConfigError(f"{_FIELD}: {name} is not a dictionary transform{hint}")
    if (not _is_of_intensity(cls) and not _moves(cls)) or issubclass(cls, MultiSampleTrait):
        raise ConfigError(f"{_FIELD}: {name} does not change the voxels of a crop; leave it out")
    return cls


def _keys(name: str, cls: type[MapTransform], arguments: Mapping[str, Any]) -> list[str]:
    """What a transform changes; the image if nothing is given.

    Raises:
        ConfigError: a key that is not there, or one that would make image and label differ.
    """
    given = arguments.get("keys", [_IMAGE])
    keys = [given] if isinstance(given, str) else list(given)
    if strange := [str(key) for key in keys if key not in (_IMAGE, _LABEL)]:
        raise ConfigError(f"{_FIELD}: {name}: keys: there is no {', '.join(strange)}; a crop has image and label")
    if _moves(cls) and set(keys) != {_IMAGE, _LABEL}:
        raise ConfigError(
            f"{_FIELD}: {name} moves voxels, and the label must move with the image: give keys: [image, label] (and "
            "mode: [bilinear, nearest] if it has a mode)"
        )
    if not _moves(cls) and _LABEL in keys:
        raise ConfigError(f"{_FIELD}: {name} changes intensities, and a label has none: give keys: [image]")
    return keys


def _is_dictionary(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, MapTransform)


def _is_of_intensity(cls: type) -> bool:
    return cls.__name__ in _INTENSITY_TOO or (cls.__module__.startswith(_OF_INTENSITY) and not _moves(cls))


def _moves(cls: type) -> bool:
    return cls.__name__ in _MOVING_TOO or (cls.__module__.startswith(_MOVING) and cls.__name__ not in _INTENSITY_TOO)


def _shape(values: Tensor) -> str:
    return " x ".join(map(str, values.shape[1:]))


def _cause(error: BaseException) -> str:
    """One line of the error below MONAI's own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
