"""Builds the Lightning Trainer, its callbacks and loggers, in one place."""

from swin_unetr.training.averaging import WeightAverage
from swin_unetr.training.model_folders import ModelFolders
from swin_unetr.training.optimizer import build_optimizer, warmup_cosine
from swin_unetr.training.resume_point import ResumePoint, TrainingStopped
from swin_unetr.training.run_record import RunRecord
from swin_unetr.training.trainer import build_trainer, train

__all__ = [
    "ModelFolders",
    "ResumePoint",
    "RunRecord",
    "TrainingStopped",
    "WeightAverage",
    "build_optimizer",
    "build_trainer",
    "train",
    "warmup_cosine",
]
