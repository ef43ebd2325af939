"""Files that torch writes: a pickle, which may hold any program. They are read without running any."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swin_unetr.errors import CheckpointError

#: Inert types that training scripts keep beside the weights (a best score as a NumPy number, the arguments).
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # its name before NumPy 2
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]
#: What torch calls the class or function that a file would have it load.
_PROGRAM = re.compile(r"(?:GLOBAL|global|class|function) `?([\w.]+\.\w+)")
_REFUSED = (
    "and is refused; ask its author for tensors alone, or if you trust it, convert it in a Python of your own: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)


def read_torch_file(path: Path, *, otherwise: str, mmap: bool = False) -> Any:
    """Read what `torch.save` wrote: tensors on the CPU, and plain values.

    Args:
        path: the file.
        otherwise: what the user should do if it is damaged.
        mmap: leave the tensors on the disk until they are used.

    Raises:
        CheckpointError: it is missing or damaged, or would run code. torch's own advice, to allow it, is not shown.
    """
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, for programmers
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; check the path") from error
    except pickle.UnpicklingError as error:
        if found := _PROGRAM.search(str(error)):
            raise CheckpointError(f"{path}: would run code when read ({found[1]}), {_REFUSED}") from error
        raise CheckpointError(f"{path}: is not a file of weights, or is damaged; {otherwise}") from error
    except Exception as error:  # damaged bytes can raise any error in the reader
        reason = " ".join(str(error).split())
        if "TorchScript" in reason:
            raise CheckpointError(f"{path}: is a program (TorchScript), {_REFUSED}") from error
        if "weights_only" in reason:
            raise CheckpointError(f"{path}: is of an old format of torch that may run code, {_REFUSED}") from error
        raise CheckpointError(
            f"{path}: cannot be read ({type(error).__name__}: {reason[:120]}); {otherwise}"
        ) from error
