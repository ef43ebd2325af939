import json

import numpy as np
import pytest
import torch

from swin_unetr.checkpoints import load_model, save_model
from swin_unetr.cli import main
from swin_unetr.config import InferenceConfig, NetworkConfig, PreprocessConfig
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference import export as module
from swin_unetr.inference.backends.installed import check_installed
from swin_unetr.inference.export import export_model
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import build_network
from swin_unetr.tasks import brats

ROI = (16, 24, 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    config = NetworkConfig(in_channels=4, num_classes=3, feature_size=6, depths=(1, 1), num_heads=(3, 3))
    description = ModelDescription(
        kind="segmentation",
        network=config,
        task=brats("brats2021"),
        preprocess=PreprocessConfig(spacing_mm=(1.0, 1.0, 1.0)),
        inference=InferenceConfig(roi_size=ROI),
    )
    folder = tmp_path_factory.mktemp("export") / "model"
    save_model(build_network(config), folder, description=description)
    return folder


def need(name):
    try:
        check_installed(name)
    except ConfigError as error:
        pytest.skip(str(error))


def sample_and_scores(model):
    sample = torch.randn(1, 4, *ROI, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return sample, load_model(model).network.eval()(sample)


def assert_close(found, expected, limit=1e-3):
    assert np.linalg.norm(np.asarray(found) - expected.numpy()) < limit * expected.norm()


@pytest.mark.slow
def test_onnx_runs_without_this_package(model, tmp_path, capsys) -> None:
    need("onnx")
    import onnxruntime

    assert main(["export", str(model), "--format", "onnx", "--output", str(tmp_path / "out")]) == 0
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.startswith(f"{tmp_path / 'out'}: onnx in float32, checked: scores differ by ")
    sample, expected = sample_and_scores(model)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert_close(session.run(["scores"], {"image": sample.numpy()})[0], expected)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_openvino_and_its_weights_in_half_precision(precision, model, tmp_path) -> None:
    need("openvino")
    from swin_unetr.inference.backends.openvino_cpu import import_openvino

    parity = export_model(model, tmp_path, format="openvino", precision=precision)
    assert parity.label_agreement > 0.99
    sample, expected = sample_and_scores(model)
    compiled = (
        import_openvino().Core().compile_model(tmp_path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    assert_close(compiled([sample.numpy()])[0], expected, 2e-2 if precision == "float16" else 1e-3)
    if precision == "float16":
        export_model(model, tmp_path / "whole", format="openvino")
        sizes = [(folder / "model.bin").stat().st_size for folder in (tmp_path / "whole", tmp_path)]
        values = sum(tensor.numel() for tensor in load_model(model).network.state_dict().values())
        assert sizes[0] - sizes[1] > 1.9 * values  # two bytes each


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_torch_export_with_its_description(precision, model, tmp_path) -> None:
    export_model(model, tmp_path, format="torch-export", precision=precision)
    sample, expected = sample_and_scores(model)
    found = torch.export.load(tmp_path / "model.pt2").module()(sample)
    assert found.dtype == getattr(torch, precision)
    assert_close(found.detach().float(), expected, 5e-2 if precision == "bfloat16" else 1e-5)
    described = json.loads((tmp_path / "export.json").read_text())
    assert described["input"]["shape"] == [1, 4, *ROI]
    assert described["output"] == {"shape": [1, 3, *ROI], "meaning": "scores before the sigmoid"}
    assert described["preprocess"]["spacing_mm"] == [1.0, 1.0, 1.0]
    assert [target["name"] for target in described["task"]["targets"]] == ["TC", "WT", "ET"]
    assert described["parity"]["relative_difference"] < 5e-2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "model.pt2"]


def test_other_scores_are_not_kept(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_write", lambda *arguments: lambda sample: torch.zeros(1, 3, *ROI))
    with pytest.raises(DataError, match=r"its scores differ by 1.0e\+00 from the network's.*nothing was written"):
        export_model(model, tmp_path / "out", format="torch-export")
    assert not list((tmp_path / "out").iterdir())


def test_what_a_format_does_not_have_is_refused(model, tmp_path) -> None:
    with pytest.raises(ConfigError, match="--precision bfloat16: openvino takes float32 or float16"):
        export_model(model, tmp_path, format="openvino", precision="bfloat16")
    with pytest.raises(ConfigError, match="roi_size: 20 20 20 does not suit"):
        export_model(model, tmp_path, format="torch-export", roi_size=(20, 20, 20))
