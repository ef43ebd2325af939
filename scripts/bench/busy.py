"""How much longer the demo takes beside busy processes: its commands alone, and beside processes that each use a core.

    python scripts/bench/busy.py --output busy.json
    python scripts/bench/busy.py --output busy.json --busy 2 --epochs 10 --rounds 3

Each round runs both, one after the other, on a machine that does nothing else. OMP_WAIT_POLICY=ACTIVE shows what
threads that wait in a loop cost.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from swin_unetr.files import write_json
from swin_unetr.provenance import written_by

_SPIN = "while True: pass"


def main() -> int:
    """Measure, print and write the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON")
    parser.add_argument("--busy", type=int, default=2, help="busy processes")
    parser.add_argument("--epochs", type=int, default=50, help="epochs of the demo's training; the demo itself has 50")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    alone, beside = [], []
    for _ in range(arguments.rounds):
        alone.append(demo(arguments.epochs, 0))
        beside.append(demo(arguments.epochs, arguments.busy))
        print(f"alone {alone[-1]:.0f} s, beside {arguments.busy} busy processes {beside[-1]:.0f} s", flush=True)
    alone_s, beside_s = statistics.median(alone), statistics.median(beside)
    waiting = os.environ.get("OMP_WAIT_POLICY", "as the commands choose")
    values = {"alone_s": alone_s, "beside_s": beside_s, "ratio": beside_s / alone_s, "alone": alone, "beside": beside}
    facts = {"busy": arguments.busy, "epochs": arguments.epochs, "OMP_WAIT_POLICY": waiting}
    write_json(arguments.output, {**written_by(), **facts, "results": {"demo": values}})
    print(f"{values['ratio']:.2f} times as long")
    return 0


def demo(epochs: int, busy: int) -> float:
    """Seconds of the commands of `make demo` beside `busy` busy processes."""
    recipe = Path(__file__).parents[2] / "finetune" / "recipes" / "demo.yaml"
    others = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(busy)]
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            phantoms, run, found = folder / "phantoms", folder / "run", folder / "predictions"
            train = ["finetune", "--config", recipe, "--data", phantoms, "--fold", "0", "--output", run]
            started = time.monotonic()
            for command in (
                ["phantoms", "--output", phantoms, "--cases", "12", "--held-back", "4"],
                [*train, "--trainer.max_epochs", epochs, "--trainer.validate_every", min(10, epochs)],
                ["predict", run, phantoms / "imagesTs", "--output", found],
                ["evaluate", found, phantoms / "labelsTs", "--output", folder / "report"],
            ):
                words = [sys.executable, "-m", "swin_unetr", *map(str, command)]
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return time.monotonic() - started
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    raise SystemExit(main())
