"""From scans on disk to a plan that is a recipe: on phantoms, and on data that nobody would wish for."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import swin_unetr
from finetune.command import main as finetune
from finetune.config import FinetuneConfig, UnlabelledConfig
from finetune.planning.command import main, plan_of_run
from finetune.planning.memory import training_footprint
from finetune.planning.origin import note_of_origin
from finetune.planning.planner import plan_data, recipe_of, write_plan
from finetune.recipes import find_recipe
from finetune.trial import TrainingNeeds
from swin_unetr.config import InferenceConfig, NetworkConfig, SamplingConfig, TrainerConfig
from swin_unetr.config_io import load
from swin_unetr.datasets import read_dataset
from swin_unetr.doctor.terminal import machine_lines
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import write_json
from swin_unetr.networks import build_network
from swin_unetr.planning.fingerprint import Fingerprint, fingerprint
from swin_unetr.planning.this_machine import this_machine
from swin_unetr.survey.run import survey
from swin_unetr.tasks import Task, exclusive
from transforms.io import read_labels, write_image, write_labels

MEMORY = 8_000_000_000


def plan_of(folder: Path):
    return plan_data(survey(read_dataset(folder, require_labels=True), workers=1), this_machine(memory=MEMORY))


@pytest.fixture(scope="module")
def plan(phantom_data: Path):
    return plan_of(phantom_data)


@pytest.mark.slow
def test_a_plan_is_a_recipe_with_a_reason_for_every_choice(plan, tmp_path: Path) -> None:
    path = write_plan(plan, tmp_path)
    config = load(FinetuneConfig, find_recipe(path))
    assert config == recipe_of(plan)
    assert config.network.window_size == plan.fitted.setting.shape.window
    assert config.sampling.crop_size == (32, 32, 24)  # as large as the scans
    lines = path.read_text().splitlines()
    fields = [index for index, line in enumerate(lines) if not line.lstrip().startswith("#") and not line.endswith(":")]
    assert len(fields) == len(plan.choices)
    assert not [lines[index] for index in fields if "  # " not in lines[index] and "# " not in lines[index - 1]]
    assert max(map(len, lines)) <= 120


def test_a_person_may_change_it(plan, tmp_path: Path) -> None:
    path = write_plan(plan, tmp_path)
    path.write_text(path.read_text().replace("learning_rate: 0.002 ", "learning_rate: 0.005 "))
    assert load(FinetuneConfig, path).optimizer.learning_rate == 0.005


def test_the_fingerprint_beside_it_is_read_back(plan, tmp_path: Path) -> None:
    write_plan(plan, tmp_path)
    assert load(Fingerprint, tmp_path / "fingerprint.json") == plan.data


def test_a_fingerprint_is_of_the_axes_of_the_patient(phantom_data: Path) -> None:
    found = fingerprint(survey(read_dataset(phantom_data, require_labels=True), workers=1))
    assert found.shapes == ((32, 32, 24),) * 6
    assert [target.cases for target in found.targets] == [6] * 5
    liver = found.targets[0]
    assert 0.02 < liver.share < 0.1
    assert liver.volume_mm3 == pytest.approx(
        liver.share * np.median([np.prod(s) * 32 * 32 * 24 for s in found.spacings_mm]), rel=0.25
    )
    (channel,) = found.channels
    assert 60 < channel.mean < 140  # organs of 110 to 220 HU, and what lies at their rims
    assert channel.low < channel.mean < channel.high


def test_of_regions_sigmoids_of_classes_a_softmax(plan) -> None:
    reasons = {choice.path: choice.reason for choice in plan.choices}
    assert reasons["loss.dice"] == "5 exclusive classes: softmax"


def write_nnunet(
    root: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float], *, cases: int, channels: int
):
    """A data set in nnU-Net's layout, of noise with a bright box that is labelled."""
    rng = np.random.default_rng(0)
    affine = np.diag([*spacing, 1.0])
    for index in range(cases):
        label = np.zeros(shape, np.uint8)
        label[tuple(slice(0, max(1, size // 2)) for size in shape)] = 1
        for channel in range(channels):
            image = rng.normal(100 + 50 * channel, 10, shape) + 100 * label
            geometry = write_image(
                root / "imagesTr" / f"case{index}_{channel:04d}.nii.gz", image.astype(np.float32), affine
            )
        write_labels(root / "labelsTr" / f"case{index}.nii.gz", label, geometry, {1: "box"})
    names = {str(channel): name for channel, name in enumerate(("T1", "T2")[:channels])}
    labels = {"background": 0, "box": 1}
    write_json(
        root / "dataset.json",
        {"channel_names": names, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"},
    )
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "spacing", "cases", "channels"),
    [
        pytest.param((20, 24, 20), (1.0, 1.0, 1.0), 1, 1, id="one case"),
        pytest.param((40, 40, 1), (1.0, 1.0, 5.0), 3, 1, id="one slice"),
        pytest.param((20, 20, 20), (1.0, 1.0, 1.0), 4, 2, id="two modalities"),
        pytest.param((64, 64, 3), (0.2, 0.2, 30.0), 3, 1, id="hugely anisotropic"),
    ],
)
def test_hostile_data_gets_a_plan_that_takes_a_step(tmp_path: Path, shape, spacing, cases, channels) -> None:
    import torch

    from finetune.module import FinetuneModule
    from swin_unetr.networks import build_network

    plan = plan_of(write_nnunet(tmp_path / "data", shape, spacing, cases=cases, channels=channels))
    config = recipe_of(plan)
    network = replace(config.network, in_channels=channels)
    module = FinetuneModule(build_network(network), plan.data.task, config)
    batch = {
        "image": torch.randn(1, channels, *config.sampling.crop_size),
        "label": torch.ones(1, 1, *config.sampling.crop_size, dtype=torch.uint8),
    }
    loss = module.training_step(batch, 0)
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert (config.num_folds == 2) if cases == 1 else (config.num_folds == cases)


def test_a_validation_that_takes_more_than_the_training_is_told(plan) -> None:
    data = replace(plan.data, shapes=((2000, 2000, 2000),) * 6)
    assert plan.validation_bytes() < MEMORY
    larger = replace(plan, data=data)
    assert [line for line in larger.headline() if "Validating" in line]
    # 8e9 voxels of 4 bytes, 6 scores of 4, 2 maps of 5 structures and 8 bytes for the choice are 368 GB; the largest
    # scan's voxels are up to a quarter larger than the median's.
    assert 368e9 < larger.validation_bytes() < 368e9 * 1.5


def test_the_command_shows_and_writes(phantom_data: Path, tmp_path: Path, capsys) -> None:
    assert main([str(phantom_data), "--output", str(tmp_path / "plan"), "--memory", "8GB", "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "32 x 32 x 24" in shown
    assert f"finetune --plan {tmp_path / 'plan' / 'plan.yaml'}" in shown
    assert yaml.safe_load((tmp_path / "plan" / "plan.yaml").read_text())["network"]["feature_size"] == 16
    assert json.loads((tmp_path / "plan" / "fingerprint.json").read_text())["cases"] == 6


def test_what_no_gpu_has_been_seen_to_take_is_said_to_be_modelled(plan) -> None:
    on_gpu = replace(plan, machine=replace(plan.machine, device="cuda"))
    lines = [*on_gpu.headline(), *on_gpu.table().splitlines()]
    assert [line for line in lines if "GPU (modelled, not measured)" in line]
    assert [line for line in lines if "memory" in line and line.endswith("(modelled, not measured)")]
    here = TrainingNeeds(cores=2, memory_free=8, gpu="a GPU", gpu_memory=24 * 10**9, disk_free=8, device="cuda")
    assert "free; training needs" not in machine_lines(here)[0]
    assert machine_lines(replace(here, gpu_memory_needed=9 * 10**9))[0].endswith("training needs 9 GB (modelled)")


@pytest.mark.slow
def test_what_is_refused(phantom_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs at least"):
        main([str(phantom_data), "--output", str(tmp_path), "--memory", "100MB", "--workers", "1"])
    with pytest.raises(ConfigError, match="give one of them"):
        main([str(phantom_data), "--memory", "8GB", "--gpu-memory", "24GB"])
    with pytest.raises(ConfigError, match="gpu_memory: '24' is no size"):
        main([str(phantom_data), "--gpu-memory", "24"])
    assert not list(tmp_path.iterdir())


def test_a_run_follows_the_plan_in_its_folder(phantom_data: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "plan.yaml").write_text("num_folds: 3\n")
    assert plan_of_run(phantom_data, tmp_path, layout="auto") == tmp_path / "plan.yaml"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        plan_of_run(phantom_data, tmp_path / "other", layout="auto")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="swin-unetr plan"):
        plan_of_run(phantom_data, tmp_path / "new", layout="auto")


@pytest.mark.slow
def test_a_run_without_a_recipe_plans_by_itself_and_goes_on(phantom_data: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    options = ["--data", str(phantom_data), "--output", str(run), "--optimizer.warmup_epochs", "0"]
    assert finetune(["--trainer.max_epochs", "1", *options]) == 0
    assert "crop         32 x 32 x 24" in capsys.readouterr().out
    planned, done = (load(FinetuneConfig, run / name) for name in ("plan.yaml", "config.yaml"))
    assert done.network == replace(planned.network, in_channels=1, num_classes=6)
    assert (done.trainer.max_epochs, planned.trainer.max_epochs) == (1, 400)
    planned_for = json.loads((run / "fingerprint.json").read_text())
    write_json(run / "fingerprint.json", {**planned_for, "ids": planned_for["ids"][1:]})  # one case came later
    other = ["--data", str(phantom_data), "--output", str(tmp_path / "other"), "--optimizer.warmup_epochs", "0"]
    assert finetune(["--trainer.max_epochs", "1", *other, "--plan", str(run / "plan.yaml")]) == 0
    note = json.loads((tmp_path / "other" / "run.json").read_text())["plan_note"]
    assert note.endswith("was made on other cases: 1 of the 6 cases here had no part in it")
    assert note in capsys.readouterr().err.splitlines()
    assert finetune(["--trainer.max_epochs", "2", *options, "--resume", "auto"]) == 0
    assert len((run / "metrics.csv").read_text().splitlines()) == 3


def test_a_plan_says_what_it_was_made_for(plan, phantom_data: Path, tmp_path: Path) -> None:
    path = write_plan(plan, tmp_path / "run")
    assert note_of_origin(path, phantom_data, "auto", named=False) == ""
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    assert note_of_origin(path, data, "auto", named=False) == ""  # the same cases in another place
    description = json.loads((data / "dataset.json").read_text())
    description["training"] = description["training"][1:]
    write_json(data / "dataset.json", description)
    words = "0 of the 5 cases here had no part in it, and 1 of its 6 cases is not here"
    assert f"was made on other cases: {words}; if they differ, plan again" in note_of_origin(
        path, data, "auto", named=False
    )
    assert note_of_origin(path, data, "auto", named=True).endswith(words)
    write_json(data / "dataset.json", {**description, "modality": {"0": "MRI"}})
    assert note_of_origin(path, data, "auto", named=True).startswith("note: ")
    options = ["--data", str(data), "--output", str(tmp_path / "run")]
    with pytest.raises(ConfigError, match=r"plan.yaml was made for .* whose channels differ \(CT; here MRI\)"):
        finetune(options)
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.slow
def test_a_plan_that_a_person_changed_is_not_replaced(phantom_data: Path, tmp_path: Path) -> None:
    arguments = [str(phantom_data), "--output", str(tmp_path), "--memory", "8GB", "--workers", "1"]
    assert main(arguments) == main(arguments) == 0
    path = tmp_path / "plan.yaml"
    planned = path.read_text()
    path.write_text(planned.replace("learning_rate: 0.002 ", "learning_rate: 0.005 "))
    with pytest.raises(ConfigError, match=r"was changed since it was planned; .* --overwrite"):
        main(arguments)
    assert "0.005" in path.read_text()
    assert main([*arguments, "--overwrite"]) == 0
    assert "0.005" not in path.read_text()
    (tmp_path / "fingerprint.json").unlink()
    with pytest.raises(ConfigError, match="may have been changed"):
        main(arguments)


@pytest.fixture
def one_case(phantom_data: Path, tmp_path: Path) -> Path:
    """A data set of a single scan."""
    data = tmp_path / "data"
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
    description = json.loads((phantom_data / "dataset.json").read_text())
    description["training"] = description["training"][:1]
    for kind in ("image", "label"):
        name = description["training"][0][kind]
        (data / name).write_bytes((phantom_data / name).read_bytes())
    write_json(data / "dataset.json", {**description, "numTraining": 1})
    return data


@pytest.mark.slow
def test_the_command_that_a_plan_of_one_case_prints_can_be_run(one_case: Path, tmp_path: Path, capsys) -> None:
    assert main([str(one_case), "--output", str(tmp_path / "plan"), "--memory", "8GB", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "1 case, channels" in out
    printed = out.splitlines()[-1].removeprefix("train with it: swin-unetr ").removeprefix("train with it: ")
    words = shlex.split(printed)
    words = words[words.index("finetune") + 1 :]
    assert words[-2:] == ["--fold", "all"]
    words[words.index("RUN")] = str(tmp_path / "run")
    assert finetune([*words, "--trainer.max_epochs", "1"]) == 0
    told = capsys.readouterr()
    assert "warm-up: 0.04 of 1 epoch, the share that the recipe has" in told.out
    assert "every case is trained on, so that validation cannot choose a model: best/ takes the last one" in told.err
    with pytest.raises(DataError, match=r"1 case of a single patient .* --fold all"):
        finetune([*words[:-2], "--output", str(tmp_path / "other")])
    with pytest.raises(DataError, match=r"1 case of a single patient .* --fold all"):
        finetune([*words[:-2], "--folds", "all", "--output", str(tmp_path / "third")])


def test_label_values_of_many_cases_are_said_once(phantom_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    paths = sorted((data / "labelsTr").iterdir())
    for path, value in zip(paths, (17, 17, 17, 17, 17, 9), strict=True):
        label = read_labels(path)
        values = np.array(label.array[0])
        values.flat[:3] = value
        write_labels(path, values, label.geometry, {})
    (data / "imagesTr" / paths[0].name).write_bytes(b"")
    with pytest.raises(DataError) as trained:
        finetune(["--config", "demo", "--data", str(data), "--output", str(tmp_path / "run"), "--fold", "all"])
    first, empty, many, single, remedy = str(trained.value).splitlines()
    assert first == "6 of 6 scans cannot be used:"
    assert paths[0].name in empty
    names = ", ".join(path.name for path in paths[1:5])
    assert many.startswith(f"  4 label files ({names}): hold label values [17] that task ")
    assert single.startswith(f"  {paths[5]}: holds label values [9] that task ")
    assert remedy.startswith("a task.yaml that counts 9, 17 as background is: {")
    with pytest.raises(DataError) as planned:
        main([str(data), "--output", str(tmp_path / "plan"), "--memory", "8GB", "--workers", "1"])
    assert str(planned.value).splitlines()[1:] == [many, single, remedy]


@pytest.mark.slow
def test_a_plan_refuses_the_label_values_that_a_training_refuses(one_case: Path, tmp_path: Path) -> None:
    path = next((one_case / "labelsTr").iterdir())
    label = read_labels(path)
    values = np.array(label.array[0])
    values.flat[:3] = 17
    write_labels(path, values, label.geometry, {})
    with pytest.raises(DataError, match="17") as trained:
        finetune(["--config", "demo", "--data", str(one_case), "--output", str(tmp_path / "run"), "--fold", "all"])
    with pytest.raises(DataError, match="1 of 1 label files cannot be trained on") as planned:
        main([str(one_case), "--output", str(tmp_path / "plan"), "--memory", "8GB", "--workers", "1"])
    line = str(planned.value).splitlines()[1]
    assert line in str(trained.value)
    assert "list them as other_labels to train on them as background" in line
    assert not (tmp_path / "plan").exists()
    # The description that it gives is one that works.
    last = str(planned.value).splitlines()[-1]
    assert last.startswith("a task.yaml that counts 17 as background is: {")
    (one_case / "task.yaml").write_text(last.partition(" is: ")[2])
    assert main([str(one_case), "--output", str(tmp_path / "plan"), "--memory", "8GB", "--workers", "1"]) == 0
    options = ["--data", str(one_case), "--output", str(tmp_path / "run"), "--fold", "all"]
    assert finetune(["--plan", str(tmp_path / "plan" / "plan.yaml"), *options, "--trainer.max_epochs", "1"]) == 0


@pytest.mark.slow
def test_python_plans_as_the_command_does(phantom_data: Path, tmp_path: Path) -> None:
    assert main([str(phantom_data), "--memory", "4GB", "--output", str(tmp_path / "command")]) == 0
    made = swin_unetr.plan(phantom_data, tmp_path / "python", memory="4GB")
    plans = [yaml.safe_load((tmp_path / name / "plan.yaml").read_text()) for name in ("python", "command")]
    assert plans[0] == plans[1]
    assert made.data.cases == 6
    with pytest.raises(ConfigError, match="give one of them"):
        swin_unetr.plan(phantom_data, tmp_path / "both", memory="4GB", gpu_memory=10**10)


def test_residual_convolutions_of_the_encoder_are_in_the_memory(plan) -> None:
    """`--network.use_v2 true` with a plan: the traced step has their weights and their maps."""
    planned, task = recipe_of(plan), plan.data.task
    network = replace(planned.network, in_channels=1, num_classes=task.num_classes)
    with_v2 = replace(planned, network=replace(network, use_v2=True))
    footprints = [training_footprint(config, task, device="cpu") for config in (planned, with_v2)]
    grown = footprints[1].weights - footprints[0].weights
    parameters = [
        sum(each.numel() for each in build_network(config.network).parameters())
        for config in (replace(planned, network=network), with_v2)
    ]
    assert grown == 4 * (parameters[1] - parameters[0]) > 0
    assert footprints[1].activations > footprints[0].activations


def test_crops_without_labels_take_the_memory_of_as_many_labelled_ones() -> None:
    """The teacher's pass keeps nothing, and there is one student's pass for both: the views are all that is added."""
    task = Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(("a", "b")))
    network = NetworkConfig(feature_size=12, depths=(1, 1), num_heads=(3, 6), window_size=(4, 4, 4))

    def peak(labelled: int, unlabelled: int) -> int:
        config = FinetuneConfig(
            network=network,
            sampling=SamplingConfig(crop_size=(32, 32, 32), scans_per_batch=labelled),
            inference=InferenceConfig(roi_size=(32, 32, 32)),
            trainer=TrainerConfig(ema_decay=0.99),
            unlabelled=UnlabelledConfig(paths=("scans",) * bool(unlabelled), batch_size=max(1, unlabelled)),
        )
        return training_footprint(config, task, device="cpu").peak

    alone, two, beside = peak(1, 0), peak(2, 0), peak(1, 1)
    views = 2 * 4 * 32**3
    assert two < beside < two + 2 * views
    assert beside > 1.5 * alone
