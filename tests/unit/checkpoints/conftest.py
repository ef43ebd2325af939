"""MONAI's own network, of which published files are made."""

import pytest
import torch
from monai.networks.nets.swin_unetr import SwinUNETR as MonaiSwinUNETR
from torch import Tensor


@pytest.fixture(scope="session")
def monai_weights() -> dict[str, Tensor]:
    """The state dict of MONAI's network with one channel, three classes and feature size 12. Not to be changed."""
    torch.manual_seed(0)
    return dict(MonaiSwinUNETR(in_channels=1, out_channels=3, feature_size=12).state_dict())
