"""How long a training waits for its batches."""

from __future__ import annotations

import time

from lightning.pytorch.profilers import Profiler

#: Endings of Lightning's names for the two actions before a step.
_NEXT, _TO_DEVICE = "train_dataloader_next", ".batch_to_device"


class LoaderClock(Profiler):  # type: ignore[misc]  # Lightning is untyped here
    """Sums the time from the request for a training batch until the step can begin, on the host.

    It includes reading, transforming and sending, unless they were done ahead; it does not include what an accelerator
    still computes.
    """

    def __init__(self) -> None:
        super().__init__()
        #: Seconds so far.
        self.seconds = 0.0
        self._training = False
        self._started_at = 0.0

    def start(self, action_name: str) -> None:
        """Start the clock."""
        if action_name.endswith("_next"):
            self._training = action_name.endswith(_NEXT)
        if self._counts(action_name):
            self._started_at = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Add what has passed."""
        if self._counts(action_name):
            self.seconds += time.perf_counter() - self._started_at

    def _counts(self, action_name: str) -> bool:
        return self._training and action_name.endswith((_NEXT, _TO_DEVICE))
