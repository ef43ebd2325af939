"""Bounds that hold for a stated share of new cases, if those are exchangeable with the cases of the calibration.

Exchangeable means: from the same scanners, protocols and patients, in random order. Nothing else is assumed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def low_quantile(values: Values, share: float) -> float:
    """A bound that a new value is below with a probability of at most `share`: the floor(share (n + 1))-th smallest.

    Vovk et al., "Algorithmic Learning in a Random World", section 2.2. Minus infinity if there are too few values.
    """
    rank = math.floor(share * (len(values) + 1) + 1e-9)
    return float(np.sort(values)[rank - 1]) if rank >= 1 else -math.inf


def high_quantile(values: Values, share: float) -> float:
    """A bound that a new value is above with a probability of at most `share`; infinity if there are too few values."""
    return -low_quantile(-np.asarray(values, np.float64), share)


def joint_tail_share(known: Values, value: Values) -> float:
    """Conformal p-value of several risks together: how rarely a case is as extreme in its most extreme risk.

    Each case is ranked in each risk among all cases, the new one included; its lowest share counts, of equal ones the
    next, and these are compared. For an exchangeable new case it is at most p with a probability of at most p,
    whatever the number of risks.

    Args:
        known: cases x risks; higher is worse.
        value: risks of the new case.
    """
    every = np.vstack([known, value])
    counts = np.sort((every[:, None, :] <= every[None, :, :]).sum(axis=1), axis=1).tolist()
    return float(np.mean([count <= counts[-1] for count in counts]))


def tail_share(known: Values, value: float) -> float:
    """Conformal p-value: the share of values at least as large as a new one, which counts itself.

    For an exchangeable new value it is at most p with a probability of at most p.
    """
    return (1 + int(np.count_nonzero(np.asarray(known) >= value))) / (len(known) + 1)
