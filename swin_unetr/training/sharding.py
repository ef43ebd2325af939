"""FSDP: the weights, their gradients, averages and the optimiser's state are divided among the processes.

By torch's `fully_shard`. Each stage of the encoder and each block of the decoder is gathered while it is computed with,
forward and backward, and then freed. Input and output are whole: a checkpoint and a model folder do not depend on how
many processes wrote them, and any number of processes can read them, with DDP too.

Lightning's own strategies are for other things: `FSDPStrategy` needs a GPU, and `ModelParallelStrategy` loads weights
only where they are divided already, which its averaging of weights does not survive.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from swin_unetr.networks.conv_decoder import ResidualBlock, UpBlock
from swin_unetr.networks.swin_encoder import SwinStage

#: What is gathered at a time; what is left over is gathered for the whole of a step.
_UNITS = (SwinStage, UpBlock, ResidualBlock)


class ShardedStrategy(DDPStrategy):  # type: ignore[misc]  # Lightning is untyped here
    """Trains as DDP does, each process keeping its part of the weights.

    It is for modules that compute with the weights in `training_step` alone, and else with `module.network`.
    """

    def __init__(self) -> None:
        super().__init__()
        #: The network without weights, as it was before it was divided.
        self._empty: nn.Module | None = None

    def configure_ddp(self) -> None:
        """Divide the weights, which are equal in all processes: drawn with the same seed, or read from a file."""
        module = self.model
        self._empty = copy.deepcopy(module.network)
        _empty(self._empty)
        divide(module)
        register_fsdp_forward_method(module, "training_step")

    @contextmanager
    def whole_network(self, module: LightningModule, source: LightningModule) -> Iterator[None]:
        """Within the block `module.network` is an ordinary network of whole weights. All processes take part.

        To validate with, since processes have different numbers of windows and could not gather weights together,
        and to save.

        Args:
            module: whose network is replaced.
            source: whose weights it has: the module itself, or another of the same shape.
        """
        assert self._empty is not None
        divided, network = module.network, self._empty
        network.load_state_dict(whole(source.network.state_dict()), assign=True)
        module.network = network.train(divided.training)
        try:
            yield
        finally:
            module.network = divided
            _empty(network)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights, for a checkpoint; empty in all processes but the first."""
        return whole(self.lightning_module.state_dict(), keep=self.is_global_zero, to_cpu=True)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state of the optimiser, likewise."""
        state: dict[str, Any] = super().optimizer_state(optimizer)
        keep = self.is_global_zero
        state["state"] = {key: whole(values, keep=keep, to_cpu=True) for key, values in state["state"].items()}
        return state

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of the state of each optimiser of a checkpoint."""
        states = [
            {**state, "state": {key: _parts(values, parameters[key]) for key, values in state["state"].items()}}
            for state, parameters in zip(checkpoint["optimizer_states"], map(_parameters, self.optimizers), strict=True)
        ]
        super().load_optimizer_state_dict({**checkpoint, "optimizer_states": states})

    def teardown(self) -> None:
        """Leave the weights where they are: parts of them are of no use on the CPU."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()
        self.checkpoint_io.teardown()


def divide(module: nn.Module) -> None:
    """Divide the parameters of a module among all processes, in place."""
    for part in _units(module):
        fully_shard(part)
    fully_shard(module)


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Within the block every process has all weights of a module, if they are divided. All processes take part.

    Without gradients, the network computes parts of a unit outside the unit's own pass, which would not gather them.
    """
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()


def whole(tensors: Mapping[str, Any], *, keep: bool = True, to_cpu: bool = False) -> dict[str, Any]:
    """Gather what is divided. All processes take part, with the same names in the same order.

    Args:
        tensors: by name; what is not divided stays as it is.
        keep: if False, nothing is returned: for processes that only take part.
        to_cpu: move each as soon as it is gathered.
    """
    gathered = {}
    for name, value in tensors.items():
        full = value.full_tensor().detach() if isinstance(value, DTensor) else value
        if keep:
            gathered[name] = full.cpu() if to_cpu and isinstance(full, Tensor) else full
    return gathered


def own_part(tensor: Tensor) -> Tensor:
    """What this process has of a tensor: a view of its part, or the tensor itself where it is not divided."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_divided(tensor: Tensor) -> bool:
    """Whether a tensor is divided among processes."""
    return isinstance(tensor, DTensor)


def _units(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, _UNITS):
            yield child
        else:
            yield from _units(child)


def _empty(network: nn.Module) -> None:
    """Free the weights; tables that are not weights stay."""
    nothing = {name: value.to("meta") for name, value in network.state_dict().items()}
    network.load_state_dict(nothing, assign=True)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _parts(values: Mapping[str, Any], parameter: Tensor) -> dict[str, Any]:
    """This process's part of each tensor that belongs to the elements of a parameter."""
    if not isinstance(parameter, DTensor):
        return dict(values)
    mesh, placements = parameter.device_mesh, parameter.placements
    return {
        # every process has read the whole of it
        name: distribute_tensor(value.to(parameter.device), mesh, placements, src_data_rank=None)
        if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim
        else value
        for name, value in values.items()
    }
