import pytest
import torch

from swin_unetr.config import NetworkConfig
from swin_unetr.inference.backends.cache import FOLDER, GraphCache, key_of
from swin_unetr.networks import build_network


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(NetworkConfig(feature_size=6, depths=(1, 1), num_heads=(3, 3)))


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "swin-unetr" / "compiled"


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def write(folder):
    (folder / "file").write_text("made")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_kept_is_found(network, model) -> None:
    key = key_of(network, backend="x")
    assert GraphCache(model).find(key) is None
    kept = GraphCache(model).keep(key, write)
    store = GraphCache(model)
    assert store.find(key) == kept
    assert kept.parent == model / FOLDER
    assert (kept / "file").read_text() == "made"
    assert store.said == f"found in {model / FOLDER}"


def test_key_holds_weights_configuration_and_facts(network, model) -> None:
    GraphCache(model).keep(key_of(network, shape=[1]), write)
    assert GraphCache(model).find(key_of(network, shape=[1]))
    assert not GraphCache(model).find(key_of(network, shape=[2]))
    with torch.no_grad():
        network.head.bias[0] += 1
    assert not GraphCache(model).find(key_of(network, shape=[1]))


def test_what_was_made_of_replaced_weights_is_forgotten(network, model) -> None:
    GraphCache(model).keep(key_of(network, shape=[1]), write)
    GraphCache(model).keep(key_of(network, shape=[2]), write)
    assert len(names(model / FOLDER)) == 2
    with torch.no_grad():
        network.head.bias[0] += 1
    kept = GraphCache(model).keep(key_of(network), write)
    assert names(model / FOLDER) == [kept.name]


def test_damaged_entries_are_made_anew(network, model) -> None:
    key = key_of(network)
    kept = GraphCache(model).keep(key, write)
    (kept / "file").write_text("ma")
    assert GraphCache(model).find(key) is None
    assert (GraphCache(model).keep(key, write) / "file").read_text() == "made"


def test_users_cache_takes_what_the_model_folder_cannot(network, model, user_cache) -> None:
    (model / FOLDER).write_text("in the way")
    store = GraphCache(model)
    kept = store.keep(key_of(network), write)
    assert kept.parent == user_cache
    assert store.said == f"kept in {user_cache}"
    assert GraphCache(model).find(key_of(network)) == kept


@pytest.mark.parametrize("error", [OSError("no space left"), RuntimeError("basic_ios::clear")])
def test_a_full_disk_leaves_nothing_and_is_said(error, network, model, user_cache) -> None:
    def fail(folder):
        write(folder)
        raise error

    store = GraphCache(model)
    assert store.keep(key_of(network), fail) is None
    assert str(error) in store.said
    assert names(model / FOLDER) == names(user_cache) == []


def test_another_process_was_faster(network, model) -> None:
    key = key_of(network)

    def slow(folder):
        write(folder)
        GraphCache(model).keep(key, write)

    kept = GraphCache(model).keep(key, slow)
    assert (kept / "file").read_text() == "made"
    assert names(model / FOLDER) == [kept.name]


def test_no_model_folder_keeps_nothing(network) -> None:
    store = GraphCache(None)
    assert store.find(key_of(network)) is None
    assert store.keep(key_of(network), write) is None
    assert store.said == "none"
