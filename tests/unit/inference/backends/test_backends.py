import os
import subprocess
import sys
from importlib import metadata

import pytest
import torch

from swin_unetr.config import NetworkConfig
from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.backends.graph import export_graph
from swin_unetr.inference.backends.installed import check_installed
from swin_unetr.inference.backends.opening import open_backend
from swin_unetr.inference.backends.registry import BACKENDS
from swin_unetr.networks import build_network

ROI = (32, 32, 24)
#: Relative root-mean-square difference from eager float32 that is rounding; OpenVINO's norms are the least exact.
ROUNDING = {"float32": 2e-4, "bfloat16": 2e-2}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    config = NetworkConfig(in_channels=2, feature_size=6, num_classes=9, depths=(2, 2), num_heads=(3, 3))
    return build_network(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def windows():
    return torch.randn(2, 2, *ROI, generator=torch.Generator().manual_seed(1))


def opened(name, network, cache, *, output="scores", precision="float32", batch_size=2):
    try:
        check_installed(name)
    except ConfigError as error:
        pytest.skip(str(error))
    return open_backend(
        name,
        network,
        output=output,
        roi_size=ROI,
        batch_size=batch_size,
        compute=Compute(torch.device("cpu"), precision, name),
        cache=cache,
    )


def difference(result, expected):
    return float((result.float() - expected).norm() / expected.norm())


def cases():
    """Every backend that computes on a CPU: features in the narrowest of its types, and scores in float32."""
    for name, spec in BACKENDS.items():
        if "cpu" in spec.devices and name != "compile":  # its C++ compiler takes minutes; a smaller network, below
            if "bfloat16" in spec.precisions:
                yield name, "scores", "float32"
            yield name, "features", "bfloat16" if "bfloat16" in spec.precisions else "float32"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "output", "precision"), list(cases()))
def test_same_function_as_the_network_and_short_batches(name, output, precision, network, cache, windows) -> None:
    backend = opened(name, network, cache, output=output, precision=precision)
    expected = network(windows) if output == "scores" else network.forward_features(windows)
    assert (backend.name, backend.output, backend.precision) == (name, output, precision)
    assert backend.channels == expected.shape[1]
    assert difference(backend(windows).clone(), expected) < ROUNDING[precision]
    one = backend(windows[1:])  # one window where the graph takes two
    assert one.shape == (1, *expected.shape[1:])
    assert difference(one, expected[1:]) < ROUNDING[precision]
    assert {"name", "version", "precision"} <= backend.facts().keys()


@pytest.mark.slow  # the C++ compiler takes a minute
def test_compiled_ahead_of_time(tmp_path, windows, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))  # what an earlier run kept there would be found
    torch.manual_seed(0)
    config = NetworkConfig(in_channels=2, feature_size=6, depths=(1, 1), num_heads=(3, 3))
    network = build_network(config).eval().requires_grad_(False)
    backend = opened("compile", network, tmp_path)
    assert backend.facts()["cache"].startswith("kept in")
    assert difference(backend(windows[:1]), network(windows[:1])) < 1e-5
    again = opened("compile", network, tmp_path)
    assert again.facts()["cache"].startswith("found in")
    assert torch.equal(again(windows), backend(windows))


@pytest.mark.slow
def test_bfloat16_is_another_precision(network, cache, windows) -> None:
    """Guards against a hint that is silently left aside."""
    backend = opened("openvino", network, cache, precision="bfloat16")
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("no AVX-512 here")
    assert difference(backend(windows), network(windows)) > 1e-3


@pytest.mark.slow
def test_export_leaves_the_network_as_it_was(network, windows) -> None:
    before = [getattr(part, "path", None) for part in network.modules()]
    expected = network(windows)
    export_graph(network, "scores", ROI, 1, whole_attention=False)
    assert [getattr(part, "path", None) for part in network.modules()] == before
    assert torch.equal(network(windows), expected)


def test_a_backend_that_is_missing_is_named_with_its_install_command(monkeypatch) -> None:
    monkeypatch.setattr("swin_unetr.inference.backends.installed.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"openvino is not installed .*pip install 'swin-unetr\[openvino\]'"):
        check_installed("openvino")
    with pytest.raises(ConfigError, match=r"pip install 'swin-unetr\[onnx\]'"):
        check_installed("onnx")
    check_installed("torch")


_NO_TELEMETRY = """
import sys
seen = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.fork"):
        seen.append((event, str(arguments)))
import torch
import numpy, sympy, torch.export
from swin_unetr.config import NetworkConfig
from swin_unetr.inference.backends.opening import open_backend
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.networks import build_network
sys.addaudithook(watch)
network = build_network(NetworkConfig(feature_size=6, depths=(1, 1), num_heads=(3, 3))).eval()
backend = open_backend("openvino", network, output="scores", roi_size=(16, 16, 16), batch_size=1,
                       compute=Compute(torch.device("cpu"), "float32", "openvino"), cache=None)
backend(torch.zeros(1, 1, 16, 16, 16))
import threading
print("network:", [each for each in seen if each[0].startswith("socket")])
print("telemetry:", sorted(name for name, module in sys.modules.items() if "openvino_telemetry" in name and module))
print("threads:", [each.name for each in threading.enumerate() if "elemetry" in each.name])
"""


@pytest.mark.slow
def test_openvino_sends_nothing_and_leaves_the_home_folder_alone(tmp_path) -> None:
    if not any(
        name == "openvino-telemetry" for name in metadata.packages_distributions().get("openvino_telemetry", [])
    ):
        pytest.skip("OpenVINO's telemetry is not installed, so cannot be sent")
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", _NO_TELEMETRY]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-3:] == ["network: []", "telemetry: []", "threads: []"]
    assert not (tmp_path / "intel").exists()
