"""The network: Swin UNETR and its encoder, from one `NetworkConfig`."""

from swin_unetr.networks.fast_paths import choose_fast_paths, recomputable
from swin_unetr.networks.swin_encoder import SwinEncoder
from swin_unetr.networks.swin_unetr import SwinUNETR, build_network

__all__ = ["SwinEncoder", "SwinUNETR", "build_network", "choose_fast_paths", "recomputable"]
