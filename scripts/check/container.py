"""Runs the steps of the Dockerfile without Docker: its files in an empty folder, its installation in a new virtual
environment, and its entry point on phantoms, without a network if the system can cut it off.

    python scripts/check/container.py --output runs/container

It says what does not work, or how long each step took. It builds no image.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """Keyword and rest of every instruction."""
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            keyword, _, rest = line.strip().partition(" ")
            yield keyword, rest


def copy_files(dockerfile: Path, folder: Path) -> None:
    """Copy the files of the COPY instructions."""
    for keyword, rest in instructions(dockerfile):
        if keyword == "COPY":
            *sources, target = rest.split()
            for source in sources:
                place = folder / target if len(sources) == 1 else folder / target / source
                place.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__", "assets"))
                else:
                    shutil.copyfile(ROOT / source, place)


def install(dockerfile: Path, folder: Path, environment: Path) -> None:
    """Run the RUN steps that call pip, in a new virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    values = dict(rest.split("=", 1) for keyword, rest in instructions(dockerfile) if keyword == "ARG")
    for keyword, rest in instructions(dockerfile):
        if keyword == "RUN" and "pip install" in rest:
            step = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], rest)
            if not cpu_index_reached():  # a mirror may hold the CPU build under its plain name
                step = re.sub(r"--index-url \S+ ", "", step)
            words = shlex.split(step)
            assert words[0] == "python", step
            subprocess.run([str(environment / "bin" / "python"), *words[1:]], cwd=folder, check=True)


def cpu_index_reached() -> bool:
    """Whether pip reaches PyTorch's own index from here."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--index-url"]
    url = "https://download.pytorch.org/whl/cpu"
    return (
        subprocess.run([*command, url, "filelock", "-d", os.devnull], capture_output=True, timeout=60).returncode == 0
    )


def offline() -> list[str]:
    """The words that run a command without a network; empty if this system cannot."""
    command = ["unshare", "--net"]
    possible = shutil.which("unshare") and not subprocess.run([*command, "true"], capture_output=True).returncode
    return command if possible else []


def main() -> None:
    """Run the steps, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    output: Path = parser.parse_args().output.resolve()
    output.mkdir(parents=True)
    app, environment = output / "app", output / "environment"
    started = time.monotonic()
    copy_files(ROOT / "Dockerfile", app)
    install(ROOT / "Dockerfile", app, environment)
    print(f"installed in {time.monotonic() - started:.0f} s")
    program = environment / "bin" / "swin-unetr"
    data = output / "phantoms"
    subprocess.run([str(program), "phantoms", "--output", str(data), "--cases", "4", "--held-back", "2"], check=True)
    short = ["--config", "demo", "--trainer.max_epochs", "2", "--optimizer.warmup_epochs", "0", "--num_folds", "2"]
    train = [str(program), "finetune", *short, "--data", str(data), "--fold", "0", "--output", str(output / "run")]
    subprocess.run(train, check=True)
    places = {"MODEL": output / "run", "INPUT": data / "imagesTs", "OUTPUT": output / "results"}
    path = f"{environment / 'bin'}:{os.environ['PATH']}"
    cut = offline()
    subprocess.run(
        [*cut, "sh", str(app / "scripts" / "container.sh"), "--max-memory", "4GB"],
        env={**os.environ, **{name: str(place) for name, place in places.items()}, "PATH": path},
        check=True,
    )
    results = sorted(path.name for path in (output / "results").glob("*.nii.gz"))
    assert results == ["phantom_004.nii.gz", "phantom_005.nii.gz"], results
    print(f"the entry point segmented 2 phantoms{' without a network' if cut else ''}")


if __name__ == "__main__":
    main()
