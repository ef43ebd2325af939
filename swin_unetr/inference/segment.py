"""A scan in memory to a label map of the same kind, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swin_unetr.inference.engine.models import ModelArgument
from swin_unetr.inference.predictor import Predictor

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from swin_unetr.inference.options import PredictorOptions


def segment(image: Any, models: ModelArgument | Sequence[ModelArgument], **options: Unpack[PredictorOptions]) -> Any:
    """Segment a scan that is in memory. For several scans, make one `Predictor` and call it with each.

    Args:
        image: a 3-D nibabel image (channels on the fourth axis), a SimpleITK or itk image (channels as components), a
            MONAI MetaTensor (C x X x Y x Z or X x Y x Z), or a pair of an array (the same) and its 4 x 4 affine to RAS
            millimetres. The channels are in the order of the model's task.
        models: model folders, run folders, or loaded models; the probabilities of several are averaged.
        options: as `Predictor` explains them.

    Returns:
        The label values on the scan's own grid, of the kind of `image`.

    Raises:
        DataError: an image of another kind, the wrong number of channels, or not enough memory.
        ConfigError: an option that is not available.
        CheckpointError: a model that cannot be used.
    """
    return Predictor(models, **options)(image)
