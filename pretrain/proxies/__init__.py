"""The proxy tasks: what each does to the views, its head, its loss."""

from pretrain.proxies.build import build_proxies
from pretrain.proxies.proxy import Judged, Proxy

__all__ = ["Judged", "Proxy", "build_proxies"]
