"""What is learnt from crops without labels, against references that are written out voxel by voxel."""

import math

import numpy as np
import pytest
import torch

from finetune.config import UnlabelledConfig
from finetune.consistency import consistency, weight_at
from swin_unetr.tasks import Region, Task, exclusive

EXCLUSIVE = Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(("a", "b")))
