"""The rules that need no look at the memory: what a fingerprint says about each field of a recipe, and why.

Percentiles of the foreground for CT, z-scores for MR and the share of the zeros at which these leave the background out
are nnU-Net's (Isensee et al., Nature Methods 18:203, 2021, Methods, "Intensity normalization"); the published training
of Swin UNETR on BraTS (2201.01266) is where regions get their mirroring from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, Literal

from swin_unetr.planning.choices import Choice
from swin_unetr.planning.fingerprint import BACKGROUND_OF_ZEROS, ChannelPrint, Fingerprint
from swin_unetr.planning.fit import Fitted
from swin_unetr.planning.length import Length
from swin_unetr.planning.target import EFFORTS, PlanTarget
from swin_unetr.sides import sided_axes
from swin_unetr.tasks import is_ct, named_ct

#: From this share of a scan on, a crop shows enough wherever it lies.
SEES_ENOUGH = 0.5
#: A structure that takes less of a scan than this is rare.
RARE = 0.001
#: Batches of unlike scans that an epoch should have.
FEWEST_BATCHES = 10
MOST_FOLDS = 5
#: How a plan normalises CT: onto 0..1, or by mean and deviation as nnU-Net does.
CT_SCHEME: Literal["hu_window", "hu_zscore"] = "hu_window"
#: Published rate for 16 features (our hippocampus recipe); the rate of Adam falls with the width (2203.03466).
_RATE, _RATE_FEATURES = 2e-3, 16


def rules(data: Fingerprint, fitted: Fitted, machine: PlanTarget, length: Length | None = None) -> Iterator[Choice]:
    """All choices but those of network and crop, in the order of a recipe.

    Args:
        data: the data set in short.
        fitted: network and crop.
        machine: what to train on.
        length: of the training, if a person has said it. If None, the machine decides.
    """
    yield Choice("layout", data.layout, f"the layout of {data.root.name}")
    yield from _intensity(data)
    yield from _sampling(data, fitted, machine)
    yield from _augmentation(data)
    yield from _loss(data, machine)
    yield from _training(data, fitted, machine, length)


def _intensity(data: Fingerprint) -> Iterator[Choice]:
    ct = [of for of in data.channels if _holds_hounsfield(data, of)]
    others = [of for of in data.channels if of not in ct]
    if ct and others:
        each = {of.name: ct_intensity([of], CT_SCHEME) if of in ct else _z_score([of]) for of in data.channels}
        windowed, scored = (", ".join(of.name for of in kind) for kind in (ct, others))
        reason = f"{windowed}: percentiles 0.5 and 99.5 of the structures' voxels; {scored}: z-scores of each scan"
        yield Choice(
            "preprocess.intensity", {"scheme": "zscore"}, "for channels that are not named below; here all are"
        )
        yield Choice("preprocess.intensity_of", each, reason)
        yield Choice("preprocess.crop_foreground", True, "what is empty in all channels is left out")
        return
    if ct:
        mean, std = ct[0].mean, ct[0].std
        yield Choice(
            "preprocess.intensity",
            ct_intensity(ct, CT_SCHEME),
            f"CT: percentiles 0.5 and 99.5 of the structures' voxels (mean {mean:.0f}, deviation {std:.0f})",
        )
        yield Choice("preprocess.crop_foreground", True, "the air around the patient is left out")
        return
    masked = _is_masked(others)
    where = "over the voxels that are not 0" if masked else "over all voxels"
    words = f"{min(of.zero_share for of in others):.0%} of a scan's voxels are 0"
    yield Choice("preprocess.intensity", _z_score(others), f"MR has no unit: z-scores of each scan, {where}; {words}")
    yield Choice("preprocess.crop_foreground", masked, f"{words}: {'' if masked else 'no '}background to crop away")


def _holds_hounsfield(data: Fingerprint, channel: ChannelPrint) -> bool:
    """Whether a channel is CT: by its name, and of several channels whose names do not say it by their air."""
    others = [of for of in data.channels if of is not channel]
    if named_ct(channel.name) is not None or not others:
        return is_ct(data.task, channel.name)
    if any(named_ct(of.name) or of.like_ct for of in others):
        return channel.like_ct
    return channel.like_ct or is_ct(data.task, channel.name)


def ct_intensity(channels: Sequence[ChannelPrint], scheme: Literal["hu_window", "hu_zscore"]) -> dict[str, Any]:
    """Intensities of channels of CT: percentiles, mean and deviation of the structures' voxels.

    Args:
        channels: one, or several that are normalised alike.
        scheme: onto 0..1, or by mean and deviation after clipping (nnU-Net).
    """
    low, high = math.floor(min(of.low for of in channels)), math.ceil(max(of.high for of in channels))
    window = {"scheme": scheme, "window": [low, max(high, low + 1)]}
    if scheme == "hu_window":
        return window
    mean = fmean(of.mean for of in channels)
    std = math.sqrt(fmean(of.std**2 + (of.mean - mean) ** 2 for of in channels))
    return {**window, "mean": round(mean, 2), "std": round(std, 2) or 1.0}


def _z_score(channels: Sequence[ChannelPrint]) -> dict[str, Any]:
    return {"scheme": "zscore_nonzero" if _is_masked(channels) else "zscore"}


def _is_masked(channels: Sequence[ChannelPrint]) -> bool:
    return min(of.zero_share for of in channels) >= BACKGROUND_OF_ZEROS


def _sampling(data: Fingerprint, fitted: Fitted, machine: PlanTarget) -> Iterator[Choice]:
    setting = fitted.setting
    scan = math.prod(fitted.grid.shape_of(data.median_shape, data.median_spacing_mm))
    seen = min(1.0, setting.shape.voxels / scan)
    if seen >= SEES_ENOUGH:
        yield Choice("sampling.scheme", "random", f"a crop sees {seen:.0%} of a scan, wherever it lies")
    else:
        rarest = min((of for of in data.targets if of.cases), key=lambda of: of.share, default=None)
        several = len(data.targets) > 1
        words = f"; {rarest.name} takes {rarest.share:.2%} of one" if rarest else ""
        each = ", each as often as the others" if several else ""
        scheme = "classes" if several else "positive_negative"
        yield Choice("sampling.scheme", scheme, f"a crop sees {seen:.1%} of a scan{words}: centred on structures{each}")
        rare = rarest is not None and rarest.share < RARE
        yield Choice("sampling.positive", 2 if rare else 1, "two of three crops" if rare else "every second crop")
        yield Choice("sampling.negative", 1, "the others anywhere on background")
    scans = scans_per_batch(data, setting.batch)
    words = "crops of unlike scans" if scans > 1 else "few scans: more steps an epoch"
    yield Choice("sampling.scans_per_batch", scans, words)
    yield Choice("sampling.crops_per_scan", setting.batch // scans, f"batches of {setting.batch} crops")
    workers = min(8, machine.cores) if machine.device == "cuda" else 0
    words = f"{machine.cores} cores keep the GPU busy" if workers else "the processor is busy with the network"
    yield Choice("sampling.num_workers", workers, words)


def _augmentation(data: Fingerprint) -> Iterator[Choice]:
    sided = sided_axes((target.name for target in data.task.targets), data.task.pairs)
    nested = data.task.activation == "sigmoid"
    flips = [0.0 if sided[0] else 0.5, *(0.5 if nested and not side else 0.0 for side in sided[1:])]
    reason = (
        "regions of a lesion: it may lie anywhere" if nested else "bodies are alike on both sides, but not upside down"
    )
    if any(sided):
        axes = ", ".join("XYZ"[axis] for axis in range(3) if sided[axis])
        reason = f"names of structures distinguish the sides along {axes}; {reason}"
    yield Choice("augment.flip_probability", flips, reason)
    worst = data.median_spacing_mm.index(max(data.median_spacing_mm))
    anisotropic = max(data.median_spacing_mm) > 2 * min(data.median_spacing_mm)
    degrees = [15.0 if not anisotropic or axis == worst else 0.0 for axis in range(3)]
    words = "slices are thick: turned within them only" if anisotropic else "patients lie a little differently"
    yield Choice("augment.affine_probability", 0.5, "in every second crop")
    yield Choice("augment.rotate_degrees", degrees, words)
    yield Choice("augment.zoom", [0.85, 1.15], "patients differ in size")
    ct = any(_holds_hounsfield(data, channel) for channel in data.channels)
    yield Choice(
        "augment.gamma_probability", 0.0 if ct else 0.3, "Hounsfield units are fixed" if ct else "contrast varies"
    )
    yield Choice("augment.intensity_scale_probability", 0.3, "contrast agent" if ct else "coils and sequences differ")
    yield Choice("augment.intensity_scale", 0.1 if ct else 0.25, "by up to this share")
    yield Choice("augment.noise_probability", 0.2, "doses and scanners differ")
    windowed = ct and CT_SCHEME == "hu_window"
    words = "of the window's width" if windowed else "in standard deviations"
    yield Choice("augment.noise_std", 0.03 if windowed else 0.15, words)


def _loss(data: Fingerprint, machine: PlanTarget) -> Iterator[Choice]:
    regions = data.task.activation == "sigmoid"
    count = len(data.task.targets)
    what = f"{count} regions that may overlap: a sigmoid each" if regions else f"{count} exclusive classes: softmax"
    yield Choice("loss.dice", 1, what)
    yield Choice(
        "loss.cross_entropy", 1, "binary, of each region" if regions else "for a clean gradient at every voxel"
    )
    yield Choice("loss.include_background", False, "background is implied by the structures")
    yield Choice("loss.batch", True, "a crop without a structure says little about it alone")
    deep = machine.device == "cuda"
    yield Choice("deep_supervision", deep, "faster to a good model" if deep else "saves the time on a processor")


def _training(data: Fingerprint, fitted: Fitted, machine: PlanTarget, length: Length | None) -> Iterator[Choice]:
    effort, features = EFFORTS[machine.device], fitted.setting.features
    steps = effort.steps if length is None else length.steps
    per_epoch = training_cases(data) // scans_per_batch(data, fitted.setting.batch)
    epochs = max(1, round(effort.steps / per_epoch))
    rate = float(f"{_RATE * _RATE_FEATURES / features:.2g}")
    yield Choice("optimizer.learning_rate", rate, f"of AdamW for {features} features; wider networks want less")
    yield Choice("optimizer.weight_decay", 0.01, "of AdamW, as usual for transformers")
    if length is None:
        yield Choice("optimizer.warmup_epochs", _short(0.04 * epochs), "4 % of the training")
    else:
        yield Choice("optimizer.warmup_share", 0.04, "4 % of the training")
    yield Choice("optimizer.gradient_clip", 1.0, "the first steps with attention are rough")
    often = f"{effort.validations} times in the course of the training"
    if length is None:
        words = f"{effort.steps:,} steps of {per_epoch} an epoch: {effort.words}"
        yield Choice("trainer.max_epochs", epochs, words)
        yield Choice("trainer.validate_every", max(1, round(epochs / effort.validations)), often)
    else:
        yield length.choice()
        yield Choice("trainer.validations", effort.validations, often)
    low = machine.bfloat16
    yield Choice("trainer.precision", "bf16-mixed" if low else "32-true", _native(machine))
    decay = 1 - 1 / max(2.0, 0.05 * steps)
    yield Choice(
        "trainer.ema_decay", float(f"{decay:.4f}"), "an average over the last twentieth of the training is validated"
    )
    crop = list(fitted.setting.shape.crop)
    yield Choice("inference.roi_size", crop, "windows as large as crops")
    yield Choice("inference.overlap", 0.5, "usual for predictions")
    yield Choice("validation_overlap", 0.5 if machine.device == "cpu" else 0.25, "in validation only")
    folds = num_folds(data)
    alone = data.patients == data.cases
    who = f"{data.cases} cases" if alone else f"{data.patients} patients, whose {data.cases} scans stay together"
    reason = who if data.patients > 1 else "a single patient: nothing can be held back; train with --fold all"
    yield Choice("num_folds", folds, reason)


def num_folds(data: Fingerprint) -> int:
    """Five, or as many as there are patients; at least two, as a recipe requires."""
    return max(2, min(MOST_FOLDS, data.patients))


def training_cases(data: Fingerprint) -> int:
    """Cases that are trained on with a fold held back; all of a single patient's."""
    return round(data.cases * (1 - 1 / num_folds(data))) if data.patients > 1 else data.cases


def scans_per_batch(data: Fingerprint, batch: int) -> int:
    """One for each crop of the batch, or a single one if an epoch would otherwise have few steps."""
    return batch if training_cases(data) >= FEWEST_BATCHES * batch else 1


def _native(machine: PlanTarget) -> str:
    what = "the GPU" if machine.device == "cuda" else "this processor"
    return f"{what} is {'' if machine.bfloat16 else 'not '}faster in bfloat16"


def _short(value: float) -> float:
    return float(f"{value:.3g}")
