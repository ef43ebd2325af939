"""Files from elsewhere: none runs code, and none takes memory for voxels that it does not hold."""

import gzip
import json
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from finetune.config import FinetuneConfig
from pretrain.config import PretrainConfig
from swin_unetr.checkpoints import load_model
from swin_unetr.checkpoints.published_file import read_published_file
from swin_unetr.checkpoints.starting_weights import start_from
from swin_unetr.config import NetworkConfig
from swin_unetr.config_io import load
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.folds import load_folds
from swin_unetr.errors import DataError, SwinUnetrError
from swin_unetr.inference.backends.cache import GraphCache
from swin_unetr.networks import build_network
from swin_unetr.training.checkpoint_files import newest_whole
from swin_unetr.training.run_record import read_record
from transforms.io import read_image


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def torch_zip(ran: Path) -> Callable[[Path], None]:
    return lambda path: torch.save(
        {"state_dict": {"a": torch.zeros(2)}, "loops": {}, "optimizer_states": [], "x": Evil(ran)}, path
    )


def bare_pickle(ran: Path) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(pickle.dumps({"state_dict": Evil(ran)}))


def yaml_object(ran: Path) -> Callable[[Path], None]:
    return lambda path: path.write_text(f"name: !!python/object/apply:os.mkdir [{json.dumps(str(ran))}]\n")


def yaml_class(ran: Path) -> Callable[[Path], None]:
    """A configuration that names a class; its module would be imported."""

    def write(path: Path) -> None:
        (path.parent / "evil_module.py").write_text(f"import os\nos.mkdir({str(ran)!r})\nclass Evil: pass\n")
        path.write_text(yaml.safe_dump({"network": {"class_path": "evil_module.Evil", "init_args": {}}}))

    return write


def numpy_object(ran: Path) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:  # a path would be given another ending
            np.save(file, np.array([Evil(ran)], dtype=object), allow_pickle=True)

    return write


def model_with(name: str) -> Callable[[Path], Any]:
    """Load a model folder of which one file comes from elsewhere."""

    def read(path: Path) -> None:
        network = {"feature_size": 12, "depths": [1, 1], "num_heads": [3, 6], "window_size": [4, 4, 4]}
        if name != "model.json":
            (path.parent / "model.json").write_text(
                json.dumps({"format_version": 1, "kind": "encoder", "network": network})
            )
        path.rename(path.parent / name)
        load_model(path.parent)

    return read


def plain_task(path: Path) -> None:
    for folder in ("images", "labels"):
        (path.parent / folder).mkdir()
        (path.parent / folder / "a.nii.gz").touch()
    path.rename(path.parent / "task.yaml")
    read_dataset(path.parent, layout="plain", require_labels=True)


def small_network() -> torch.nn.Module:
    return build_network(NetworkConfig(feature_size=12, depths=(1, 1), num_heads=(3, 6), window_size=(4, 4, 4)))


HOSTILE = [
    *(
        (write, read, "weights.pt")
        for write in (torch_zip, bare_pickle, numpy_object)
        for read in (read_published_file,)
    ),
    (torch_zip, lambda path: start_from(small_network(), path), "weights.pt"),
    (bare_pickle, read_published_file, "weights.safetensors"),
    (torch_zip, newest_whole, "last.ckpt"),
    (bare_pickle, newest_whole, "last.ckpt"),
    (bare_pickle, model_with("model.safetensors"), "file"),
    (torch_zip, model_with("model.safetensors"), "file"),
    (yaml_object, model_with("model.json"), "file"),
    (yaml_class, model_with("model.json"), "file"),
    (yaml_object, lambda path: load(FinetuneConfig, path), "recipe.yaml"),
    (yaml_object, lambda path: load(PretrainConfig, path), "recipe.yaml"),
    (yaml_class, lambda path: load(FinetuneConfig, path), "recipe.yaml"),
    (yaml_class, lambda path: load(PretrainConfig, path), "recipe.yaml"),
    (yaml_object, plain_task, "file"),
    (yaml_object, load_folds, "folds.json"),
    (yaml_object, read_record, "run.json"),
    (bare_pickle, lambda path: read_image([path]), "scan.nii"),
    (numpy_object, lambda path: read_image([path]), "scan.mha"),
]


@pytest.mark.parametrize("case", range(len(HOSTILE)))
def test_a_file_from_elsewhere_runs_no_code(tmp_path: Path, monkeypatch, case: int) -> None:
    write, read, name = HOSTILE[case]
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / "ran")(tmp_path / name)
    with pytest.raises(SwinUnetrError) as caught:
        read(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    assert len(str(caught.value).splitlines()) == 1


def test_the_hostile_files_would_run_code(tmp_path: Path) -> None:
    """Guards the test above: each of them does, in the hands of a reader that trusts it."""
    torch_zip(tmp_path / "torch")(tmp_path / "a.pt")
    torch.load(tmp_path / "a.pt", weights_only=False)
    bare_pickle(tmp_path / "pickle")(tmp_path / "b")
    pickle.loads((tmp_path / "b").read_bytes())
    yaml_object(tmp_path / "yaml")(tmp_path / "c.yaml")
    yaml.unsafe_load((tmp_path / "c.yaml").read_text())
    numpy_object(tmp_path / "numpy")(tmp_path / "d.npy")
    np.load(tmp_path / "d.npy", allow_pickle=True)
    assert all((tmp_path / name).is_dir() for name in ("torch", "pickle", "yaml", "numpy"))


def test_machine_code_is_never_taken_from_a_model_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    key = {"weights": "0", "backend": "compile"}
    model = tmp_path / "model"
    theirs = GraphCache(model).keep(
        key, lambda folder: (folder / "model.pt2").touch() or (folder / "x").write_text("x")
    )
    assert theirs is not None
    assert theirs.is_relative_to(model)
    assert GraphCache(model, machine_code=True).find(key) is None
    ours = GraphCache(model, machine_code=True).keep(key, lambda folder: (folder / "x").write_text("x"))
    assert ours is not None
    assert ours.is_relative_to(tmp_path / "home")


def nifti(shape: tuple[int, ...]) -> bytes:
    import nibabel

    header = nibabel.Nifti2Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.float32)
    header["magic"] = b"n+2"
    header["vox_offset"] = 544
    return header.binaryblock + bytes(100)


def meta_image(compressed: bool, data: str = "LOCAL") -> bytes:
    lines = ["ObjectType = Image", "NDims = 3", f"CompressedData = {compressed}", "ElementSpacing = 1 1 1"]
    lines += ["DimSize = 20000 20000 20000", "ElementType = MET_FLOAT", f"ElementDataFile = {data}"]
    return ("\n".join(lines) + "\n").encode() + bytes(100)


def nrrd(encoding: str, data: str = "") -> bytes:
    lines = ["NRRD0004", "type: float", "dimension: 3", "sizes: 20000 20000 20000", f"encoding: {encoding}"]
    lines += ["space: left-posterior-superior", "space directions: (1,0,0) (0,1,0) (0,0,1)", "endian: little"]
    lines += [f"data file: {data}"] if data else []
    return ("\n".join(lines) + "\n\n").encode() + bytes(100)


CLAIMS = {
    "a.nii": nifti((20000, 20000, 20000)),
    "b.nii.gz": gzip.compress(nifti((20000, 20000, 20000))),
    "c.mha": meta_image(compressed=False),
    "d.mha": meta_image(compressed=True),
    "e.mhd": meta_image(compressed=False, data="voxels.raw"),
    "f.mhd": meta_image(compressed=True, data="LIST"),
    "g.nrrd": nrrd("raw"),
    "h.nrrd": nrrd("gzip"),
    "i.nhdr": nrrd("raw", data="voxels.raw"),
}


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_header_that_claims_32_terabytes_takes_no_memory(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CLAIMS[name])
    (tmp_path / "voxels.raw").write_bytes(bytes(100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=rf"{name}: .*claims") as caught:
        read_image([tmp_path / name])
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB
