"""The commands import-weights and export-weights."""

from pathlib import Path

import pytest
import torch
from monai.networks.nets.swin_unetr import SwinUNETR as MonaiSwinUNETR
from safetensors.torch import load_file
from torch import Tensor

from swin_unetr.checkpoints import load_model, start_from
from swin_unetr.cli import main
from swin_unetr.config import NetworkConfig
from swin_unetr.networks import build_network

RECIPE = """
network: {feature_size: 12}
preprocess: {spacing_mm: [1, 1, 1], intensity: {scheme: zscore_nonzero}}
inference: {roi_size: [64, 64, 64], overlap: 0.6}
"""


@pytest.fixture
def published(monai_weights: dict[str, Tensor], tmp_path: Path) -> Path:
    torch.save({"state_dict": monai_weights}, tmp_path / "published.pt")
    return tmp_path / "published.pt"


def test_an_encoder_for_several_channels(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "encoder"
    assert main(["import-weights", str(published), "--output", str(folder), "--channels", "2"]) == 0
    printed = capsys.readouterr().out
    assert "merging: legacy (assumed" in printed
    assert "divided by 2" in printed
    network = build_network(NetworkConfig(in_channels=2, feature_size=12, merging="legacy"))
    assert start_from(network, folder).missing


def test_a_whole_model_and_back(
    published: Path, monai_weights: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "task.yaml").write_text(
        "{name: pair, modality: MR, channels: [T1], "
        "targets: [{name: a, labels: [1], write_as: 1}, {name: b, labels: [2], write_as: 2}]}"
    )
    model = tmp_path / "model"
    arguments = ["import-weights", str(published), "--output", str(model), "--merging", "merging"]
    assert main([*arguments, "--task", str(tmp_path / "task.yaml"), "--recipe", str(tmp_path / "recipe.yaml")]) == 0
    description = load_model(model).description
    assert (description.task.name, description.inference.overlap) == ("pair", 0.6)
    assert description.provenance["imported"]["merging_reason"] == "as given"

    for name in ("weights.safetensors", "weights.pt"):
        assert main(["export-weights", str(model), "--output", str(tmp_path / name)]) == 0
    assert "downsample='merging'" in capsys.readouterr().out
    in_tensors = load_file(tmp_path / "weights.safetensors")
    in_pickle = torch.load(tmp_path / "weights.pt", weights_only=True)["state_dict"]
    theirs = MonaiSwinUNETR(in_channels=1, out_channels=3, feature_size=12)
    for weights in (in_tensors, in_pickle):
        theirs.load_state_dict(weights, strict=True)
        assert all(torch.equal(value, monai_weights[name]) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--task", "btcv"], 2, "--recipe"),
        (["--task", "btcv", "--recipe", "recipe.yaml"], 2, "14 classes, the weights 3"),
        (["--task", "nothing.yaml", "--recipe", "recipe.yaml"], 2, "nothing.yaml"),
        (["--merging", "v3"], 2, "merging"),
    ],
)
def test_wrong_arguments_end_in_one_line(
    published: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    assert main(["import-weights", str(published), "--output", "model", *arguments]) == code
    assert words in (printed := capsys.readouterr().err)
    assert printed.count("\n") == 1
    assert not Path("model").exists()


def test_export_refuses_what_it_cannot_write(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = tmp_path / "encoder"
    assert main(["import-weights", str(published), "--output", str(encoder)]) == 0
    assert main(["export-weights", str(encoder), "--output", str(tmp_path / "weights.pt")]) == 1
    assert main(["export-weights", str(encoder), "--output", str(tmp_path / "weights.npz")]) == 2
    assert "should end in .safetensors or .pt" in capsys.readouterr().err
    assert not (tmp_path / "weights.pt").exists()
