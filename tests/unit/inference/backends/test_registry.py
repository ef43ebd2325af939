"""What the table of backends says fits the modules, the package's extras and the commands."""

from importlib import import_module

import pytest
import torch

from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.compute import choose_compute
from swin_unetr.inference.backends.installed import check_installed
from swin_unetr.inference.backends.registry import (
    BACKENDS,
    DEFAULT,
    EXPORTS,
    auto_in_words,
    exports_in_words,
    find_backend,
    find_export,
    import_named,
)

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib; CI runs on a newer one")


@pytest.mark.parametrize("name", BACKENDS)
def test_the_table_names_what_exists(name, project_root) -> None:
    spec = BACKENDS[name]
    loader = import_named(spec.loader)  # without the packages that it needs
    assert getattr(loader, "name", name) == name
    if spec.export:
        assert callable(import_named(spec.export.writer))
    assert set(spec.preferred_on) <= set(spec.devices)
    assert "float32" in spec.precisions  # what every device computes in
    extras = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert bool(spec.modules) == bool(spec.extra)
    if spec.extra:
        installed = {requirement.partition(">=")[0] for requirement in extras[spec.extra]}
        assert set(spec.modules) <= installed


@pytest.mark.parametrize("name", [name for name, spec in BACKENDS.items() if spec.modules])
def test_a_missing_package_is_named_with_its_install_command(name, monkeypatch) -> None:
    monkeypatch.setattr("swin_unetr.inference.backends.installed.find_spec", lambda module: None)
    spec = BACKENDS[name]
    with pytest.raises(ConfigError) as error:
        check_installed(name)
    assert str(error.value) == (
        f"backend: {name} is not installed (no {', '.join(spec.modules)}); run: pip install 'swin-unetr[{spec.extra}]'"
    )


@pytest.fixture
def any_machine(monkeypatch):
    """As if every device and every package were here; what goes together is decided without them."""
    module = "swin_unetr.inference.backends.compute"
    monkeypatch.setattr(f"{module}.check_installed", lambda name: None)
    monkeypatch.setattr(f"{module}._device", torch.device)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_is_refused_where_its_spec_says_so(name, any_machine) -> None:
    spec = BACKENDS[name]
    for device in ("cpu", "cuda", "mps"):
        if device in spec.devices:
            assert choose_compute(device, "float32", name).backend == name
        else:
            with pytest.raises(ConfigError, match=rf"^backend: {name} computes on .*, not on {device}; "):
                choose_compute(device, "float32", name)
    for precision in {"float32", "bfloat16", "float16"} - set(spec.precisions):
        with pytest.raises(ConfigError, match=rf"^precision: {spec.title} computes in .*, not in {precision}; leave"):
            choose_compute(spec.devices[0], precision, name)


@pytest.mark.parametrize(
    ("device", "precision", "backend", "message"),
    [
        (
            *("cuda", "float32", "openvino"),
            "backend: openvino computes on the CPU, not on cuda; add --device cpu, or leave it out",
        ),
        ("mps", "float32", "onnx", "backend: onnx computes on cpu or cuda, not on mps; choose one of them"),
        ("cpu", "bfloat16", "onnx", "precision: ONNX Runtime computes in float32 here, not in bfloat16; leave it out"),
        ("cpu", "float16", "torch", "precision: float16 is for GPUs; on the CPU use bfloat16 or float32"),
        (
            *("mps", "bfloat16", "torch"),
            "precision: Apple's GPU (mps) computes the network in float32 alone, not in bfloat16",
        ),
    ],
)
def test_words_of_what_does_not_go_together(device, precision, backend, message, any_machine) -> None:
    with pytest.raises(ConfigError) as error:
        choose_compute(device, precision, backend)
    assert str(error.value) == message


def test_words_of_the_help() -> None:
    assert auto_in_words() == "openvino on a CPU where it is installed, else torch"
    assert "openvino: float32, float16; " in exports_in_words()
    assert DEFAULT in BACKENDS


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=f"backend: 'tensorrt' is not one of auto, {', '.join(BACKENDS)}"):
        find_backend("tensorrt")
    with pytest.raises(ConfigError, match=f"format: 'keras' is not one of {', '.join(EXPORTS)}"):
        find_export("keras")


@pytest.mark.parametrize("command", ["command", "export_command"])
def test_a_command_offers_what_the_table_has(command, capsys) -> None:
    with pytest.raises(SystemExit):
        import_module(f"swin_unetr.inference.{command}").main(["--help"])
    offered = ",".join(["auto", *BACKENDS] if command == "command" else EXPORTS)
    assert f"{{{offered}}}" in capsys.readouterr().out
