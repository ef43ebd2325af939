"""Networks of others, trained and used as ours is: each a module here, named as in `Architecture`, with a `build`."""

from swin_unetr.networks.baselines.baseline import BaselineNetwork

__all__ = ["BaselineNetwork"]
