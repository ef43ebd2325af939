"""What the tests share: where real data lies, and phantoms made once a session."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from swin_unetr.checkpoints import LoadedModel
    from swin_unetr.config import InferenceConfig, PreprocessConfig
    from swin_unetr.tasks import Task

# Set before any test imports torch: small tensors gain nothing from many threads.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# As in an environment that is activated: messages then name the command as `swin-unetr`.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data; a test that asks for it is skipped where there is none."""
    folder = Path(os.environ.get("SWIN_UNETR_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SWIN_UNETR_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled CT phantoms and two held back, 32x32x24 voxels, in the Decathlon's layout. Not to be written to.

    `imagesTr`, `labelsTr` (phantom_000 ... phantom_005), `imagesTs`, `labelsTs` (phantom_006, phantom_007),
    `dataset.json`; every second case is stored in LPS, every third a little oblique.
    """
    from swin_unetr.phantoms import make_phantoms

    return make_phantoms(tmp_path_factory.mktemp("phantoms") / "data", cases=6, held_back=2, size=(32, 32, 24))


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Write a model folder with a small network of random weights, the same for the same seed.

    Two stages: windows are multiples of 8 voxels. Arguments: name of the folder, task, preprocess, inference, seed,
    and fields of the network.
    """

    def make(
        name: str,
        task: Task,
        *,
        preprocess: PreprocessConfig | None = None,
        inference: InferenceConfig | None = None,
        seed: int = 0,
        **network: Any,
    ) -> Path:
        import torch

        from swin_unetr.checkpoints import save_model
        from swin_unetr.config import InferenceConfig, NetworkConfig, PreprocessConfig
        from swin_unetr.model_description import ModelDescription
        from swin_unetr.networks import build_network

        small = {"feature_size": 12, "depths": (1, 1), "num_heads": (3, 6), "window_size": (4, 4, 4)}
        config = NetworkConfig(
            **{**small, "in_channels": len(task.channels), "num_classes": task.num_classes, **network}
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = build_network(config)
        save_model(
            weights,
            tmp_path / name,
            description=ModelDescription(
                kind="segmentation",
                network=config,
                task=task,
                preprocess=preprocess or PreprocessConfig(),
                inference=inference or InferenceConfig(),
            ),
        )
        return tmp_path / name

    return make


@pytest.fixture
def make_threshold_model() -> Callable[..., LoadedModel]:
    """Build a model in memory that labels what is brighter than a value, so that its result is known beforehand.

    Arguments: lower bound and upper bound of the CT window, the value, the label value to write, and `spacing_mm`.
    """

    def make(
        low: float, high: float, value: float, label: int = 1, spacing_mm: tuple[float, float, float] | None = None
    ) -> LoadedModel:
        import torch

        from swin_unetr.checkpoints import LoadedModel
        from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig
        from swin_unetr.model_description import ModelDescription
        from swin_unetr.tasks import Task, exclusive

        class Threshold(torch.nn.Module):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                above = image - (value - low) / (high - low)
                return 50 * torch.cat([-above, above], dim=1)

        intensity = IntensityConfig(scheme="hu_window", window=(low, high))
        description = ModelDescription(
            kind="segmentation",
            network=NetworkConfig(),
            task=Task(name="bright", modality="CT", channels=("CT",), targets=exclusive(("bright",), first=label)),
            preprocess=PreprocessConfig(spacing_mm=spacing_mm, intensity=intensity),
            inference=InferenceConfig(roi_size=(64, 64, 64), overlap=0.25),
        )
        return LoadedModel(Threshold(), description)

    return make
