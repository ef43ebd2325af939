"""Whether the weights that were carried over can be trained as a configuration says."""

from __future__ import annotations

from finetune.config import FinetuneConfig
from swin_unetr.config import TransferConfig
from swin_unetr.errors import ConfigError
from swin_unetr.networks import SegmentationNetwork
from swin_unetr.training.session import Session


def refuse_without_start(config: TransferConfig, session: Session[FinetuneConfig]) -> None:
    """Refuse to treat carried-over weights differently in a run that starts from random ones.

    Raises:
        ConfigError: names the field.
    """
    started = session.start is not None or bool(session.before.get("init_source"))
    if config.changed and not started:
        name = config.changed[0]
        raise ConfigError(
            f"transfer.{name}: is for weights that --init carries over; name a model by --init, or leave "
            f"transfer.{name} out"
        )


def carried_over(
    config: TransferConfig, session: Session[FinetuneConfig], network: SegmentationNetwork, *, has_more: bool
) -> tuple[str, ...]:
    """Names of the network's tensors that are trained differently; empty if all are trained alike.

    Args:
        config: how they are trained.
        session: has loaded the weights.
        network: that has them.
        has_more: whether weights outside the network are trained too, which are fresh.

    Raises:
        ConfigError: fresh weights are to learn alone, and there are none.
    """
    if not config.changed:
        return ()
    fresh = {name for name, _ in network.named_parameters()} - set(session.carried)
    if config.freezes and not fresh and not has_more:
        name = "rate" if config.rate == 0 else "freeze_steps" if config.freeze_steps else "schedule"
        raise ConfigError(
            f"transfer.{name}: every weight of the network was carried over, so that nothing would learn while they "
            "are frozen; leave it out"
        )
    return session.carried
