"""Networks of other projects, trained and used like ours: each is a module with `build`, named in `Architecture`."""

from swin_unetr.networks.baselines.baseline import BaselineNetwork

__all__ = ["BaselineNetwork"]
