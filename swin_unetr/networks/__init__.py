"""The networks: Swin UNETR and its encoder, and the baselines, from one `NetworkConfig`."""

from swin_unetr.networks.baselines import BaselineNetwork
from swin_unetr.networks.build import SegmentationNetwork, build_network
from swin_unetr.networks.fast_paths import choose_fast_paths, recomputable
from swin_unetr.networks.swin_encoder import SwinEncoder
from swin_unetr.networks.swin_unetr import SwinBody, SwinUNETR

__all__ = [
    "BaselineNetwork",
    "SegmentationNetwork",
    "SwinBody",
    "SwinEncoder",
    "SwinUNETR",
    "build_network",
    "choose_fast_paths",
    "recomputable",
]
