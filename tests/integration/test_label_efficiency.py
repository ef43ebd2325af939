"""What pre-training is worth: whole experiments on phantoms, and the statistics on made-up scores."""

import csv
import itertools
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FINETUNE = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "scans_per_batch": 2},
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 1},
    "trainer": {"max_epochs": 4, "validate_every": 1, "accelerator": "cpu"},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "num_folds": 3,
}
TITLES = ("report", "runs", "main")


@pytest.fixture(scope="module")
def script(project_root: Path) -> Iterator[dict[str, ModuleType]]:
    """The modules of the script, imported as it imports them."""
    sys.path.insert(0, str(project_root / "scripts" / "studies"))
    try:
        import label_efficiency
        import label_efficiency_report
        import label_efficiency_runs

        yield dict(zip(TITLES, (label_efficiency_report, label_efficiency_runs, label_efficiency), strict=True))
    finally:
        sys.path.remove(str(project_root / "scripts" / "studies"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(FINETUNE))  # JSON is YAML
    return path


@pytest.fixture
def make_encoder(tmp_path: Path) -> Callable[..., Path]:
    """Write an encoder folder of random weights. Arguments: name, seed, provenance, fields of the network."""

    def make(name: str, seed: int = 1, provenance=None, **network) -> Path:
        import torch

        from swin_unetr.checkpoints import save_model
        from swin_unetr.config import NetworkConfig
        from swin_unetr.config_io import from_dict
        from swin_unetr.model_description import ModelDescription
        from swin_unetr.networks import SwinEncoder

        config = from_dict(NetworkConfig, {**FINETUNE["network"], **network}, source="test")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = SwinEncoder(config)
        description = ModelDescription(kind="encoder", network=config, provenance=provenance or {})
        save_model(encoder, tmp_path / name / "best", description=description)
        return tmp_path / name

    return make


@pytest.fixture
def call(script, recipe: Path, phantom_data: Path, tmp_path: Path) -> Callable[..., int]:
    def call(*arguments: object) -> int:
        fixed = ["--config", recipe, "--data", phantom_data, "--output", tmp_path / "out", "--steps", 4]
        return script["main"].main([str(word) for word in (*fixed, *arguments)])

    return call


@pytest.mark.slow
def test_an_experiment_from_plan_to_report(
    call, script, make_encoder, phantom_data: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    from swin_unetr.checkpoints.model_folder import read_weights

    out = tmp_path / "out"
    assert call("--plan") == 0
    held_back = [Path(line).name for line in (out / "held_back.txt").read_text().splitlines()]
    assert len(held_back) == 2
    plan = json.loads((out / "plan.json").read_text())
    assert [f"{case}.nii.gz" for case in plan["held_back"]] == held_back
    assert not set(plan["held_back"]) & set(plan["training"])

    encoder = make_encoder("ours")
    chosen = ("--encoder", encoder, "--fractions", 0.5, 1.0)
    # Another process has one of four runs; this one is stopped in its second, and goes on.
    assert call(*chosen, "--seeds", 1, "--shard", "3/4") == 0
    assert [path.name for path in (out / "results").iterdir()] == ["ours_1_0.json"]
    evaluate = script["runs"].evaluate

    def stop_once(*arguments, **options):
        monkeypatch.setattr(script["runs"], "evaluate", evaluate)
        raise KeyboardInterrupt

    monkeypatch.setattr(script["runs"], "evaluate", stop_once)
    assert call(*chosen, "--seeds", 1) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert call(*chosen, "--seeds", 1) == 0
    text = capsys.readouterr().out
    assert "4 of 4 runs done" in text
    assert "ours_1_0: Dice" not in text  # done before

    record = json.loads((out / "runs" / "ours_0.5_0" / "run.json").read_text())
    scratch = json.loads((out / "runs" / "scratch_0.5_0" / "run.json").read_text())
    whole = json.loads((out / "runs" / "ours_1_0" / "run.json").read_text())
    assert record["training"] == scratch["training"]
    assert set(record["training"]) < set(whole["training"]) == set(plan["training"])
    assert record["validation"] == plan["held_back"]
    assert (record["epochs"], whole["epochs"]) == (4, 2)  # four steps each
    tensors = len(read_weights(encoder / "best"))
    assert f"{tensors} tensors loaded, 0 adapted" in record["init"][0]
    assert scratch["init"] == []

    report = json.loads((out / "label_efficiency.json").read_text())
    assert [(of["arm"], of["fraction"], of["cases"], of["steps"]) for of in report["levels"]] == [
        ("ours", 0.5, 2, 4), ("scratch", 0.5, 2, 4), ("ours", 1.0, 4, 4), ("scratch", 1.0, 4, 4),
    ]  # fmt: skip
    with (out / "label_efficiency.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 2 * 5
    for of in report["levels"]:
        mine = [row for row in rows if (row["arm"], float(row["fraction"])) == (of["arm"], of["fraction"])]
        assert of["dice"] == pytest.approx(np.mean([float(row["dice"]) for row in mine]))
    gain = report["gains"][0]
    levels = {of["arm"]: of["dice"] for of in report["levels"] if of["fraction"] == 0.5}
    assert gain["difference"]["mean"] == pytest.approx(levels["ours"] - levels["scratch"])
    assert (out / "label_efficiency.png").stat().st_size > 5000
    assert "| 50% | ours |" in (out / "label_efficiency.md").read_text()


def test_the_dice_kept_is_that_of_evaluate(call, script, make_encoder, phantom_data: Path, tmp_path: Path) -> None:
    from swin_unetr.evaluation.run import evaluate

    assert call("--encoder", make_encoder("ours"), "--fractions", 0.25, "--seeds", 1, "--shard", "1/2") == 0
    out = tmp_path / "out"
    assert [path.name for path in (out / "runs").iterdir()] == ["ours_0.25_0"]
    kept = script["runs"].read_result(out / "results" / "ours_0.25_0.json")
    again = evaluate(out / "predictions" / "ours_0.25_0", phantom_data, cases=list(kept))
    assert {(row.case, row.structure): row.value for row in again.rows if row.metric == "dice"} == {
        (case, name): value for case, of in kept.items() for name, value in of.items()
    }


def test_an_encoder_that_saw_a_held_back_case_is_refused(call, make_encoder, tmp_path: Path, capsys) -> None:
    from transforms.content import content_hash
    from transforms.io import read_image

    assert call("--plan") == 0
    seen = (tmp_path / "out" / "held_back.txt").read_text().splitlines()[0]
    for number, provenance in enumerate(({"scans": [seen]}, {"scan_hashes": [content_hash(read_image([Path(seen)]))]})):
        assert call("--encoder", make_encoder(f"leak{number}", provenance=provenance)) == 2
        assert "has seen 1 of the held-back cases" in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()


def test_the_cases_held_back_are_those_of_a_fine_tuning_and_no_patient_is_torn(
    script, recipe: Path, phantom_data: Path, tmp_path: Path
) -> None:
    from finetune.run import open_data
    from finetune.split import choose_split
    from swin_unetr.datasets import read_dataset

    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    ids = [case.id for case in read_dataset(data, require_labels=True).cases]
    (data / "patients.csv").write_text("case,patient\n" + "".join(f"{case},p{n // 2}\n" for n, case in enumerate(ids)))
    words = ["--config", recipe, "--data", data, "--output", tmp_path / "out", "--plan", "--fold", 1]
    assert script["main"].main([str(word) for word in words]) == 0
    held_back = json.loads((tmp_path / "out" / "plan.json").read_text())["held_back"]
    config, dataset, task = open_data(str(recipe), data, None)
    assert held_back == list(choose_split(tmp_path / "run", dataset, task, config, None).split(1)[1])
    assert [ids.index(case) // 2 for case in held_back] == [ids.index(held_back[0]) // 2] * 2


def test_an_encoder_of_another_shape_is_refused_before_the_first_training(call, make_encoder, tmp_path, capsys) -> None:
    assert call("--encoder", make_encoder("wide", feature_size=8)) == 1
    assert "feature_size" in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()


def test_a_folder_keeps_to_one_experiment(call, make_encoder, tmp_path: Path, capsys) -> None:
    assert call("--plan") == 0
    assert call("--plan", "--steps", 9) == 2
    assert "another steps" in capsys.readouterr().err
    assert call("--plan", "--optimizer.learning_rate", 0.5) == 2
    assert "another config" in capsys.readouterr().err
    assert call("--plan", "--trainer.accelerator", "auto") == 0  # another machine may go on
    assert call("--plan", "--encoder", f"mine={make_encoder('a', seed=1)}") == 0
    assert call("--plan", "--encoder", f"mine={make_encoder('b', seed=2)}") == 2
    assert "another encoder 'mine'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "at least one pre-trained encoder"),
        (("--encoder", "x", "--fractions", "0"), "--fractions"),
        (("--encoder", "x", "--seeds", "0"), "--seeds"),
        (("--plan", "--shard", "2/2"), "--shard"),
        (("--plan", "--encoder", "scratch=x"), "its own name"),
        (("--plan", "--fold", "7"), "fold: 7"),
    ],
)
def test_wrong_arguments_are_one_line(call, capsys, arguments, said) -> None:
    assert call(*arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_shares_are_nested_and_differ_between_seeds(script, phantom_data: Path, tmp_path: Path) -> None:
    from finetune.config import FinetuneConfig
    from swin_unetr.config_io import from_dict
    from swin_unetr.datasets.folds import make_folds

    experiment = script["runs"].Experiment(
        config=from_dict(FinetuneConfig, FINETUNE, source="test"),
        data=phantom_data,
        output=tmp_path,
        cases=(),
        folds=make_folds([f"case{number}" for number in range(208)]),
        fold=1,
        steps=1000,
        encoders={},
    )
    shares = [set(experiment.labelled(fraction, 0)) for fraction in (0.1, 0.25, 0.5, 1.0)]
    assert [len(share) for share in shares] == [17, 42, 83, 166]
    for small, large in itertools.pairwise(shares):
        assert small < large
    assert not shares[-1] & set(experiment.held_back)
    assert experiment.labelled(0.1, 1) != experiment.labelled(0.1, 0)
    for fraction in (0.1, 0.25, 1.0):
        run = script["runs"].Run(arm="scratch", fraction=fraction, seed=2)
        config = experiment.config_of(run)
        assert 1000 <= experiment.steps_of(run) < 1000 + experiment.steps_per_epoch(run)
        assert config.optimizer.warmup_epochs / config.trainer.max_epochs == pytest.approx(1 / 4)
        assert config.trainer.seed == 2


def made_up(gain: float, seeds: int = 3, cases: int = 40) -> dict:
    """Scores of two arms; cases differ far more than arms, as they do."""
    generator = np.random.default_rng(0)
    hard = generator.uniform(0.5, 0.9, cases)
    scores = {}
    for arm, shift in (("scratch", 0.0), ("ours", gain)):
        for seed in range(seeds):
            values = hard + shift + generator.normal(0, 0.005, cases)
            scores[arm, 0.1, seed] = {
                f"case{index:03d}": {"a": float(value), "b": float(value) - 0.1} for index, value in enumerate(values)
            }
    return scores


def test_a_gain_far_smaller_than_the_cases_differ_is_found(script) -> None:
    report = script["report"]
    scores = made_up(0.02)
    (gain,) = report.gains(scores, "ours", [0.1, 0.5])
    of = gain.difference
    assert of.mean == pytest.approx(0.02, abs=0.003)
    assert 0.015 < of.ci_low < of.mean < of.ci_high < 0.025
    assert of.p < 1e-6
    assert gain.both_low > 0.015
    assert gain.both_low < of.mean < gain.both_high
    level = report.level(scores, "ours", 0.1, cases=4, steps=10)
    assert level.ci_high - level.ci_low > 0.05
    ours = [list(of.values()) for (arm, _, _), cases in scores.items() if arm == "ours" for of in cases.values()]
    assert level.dice == pytest.approx(np.mean(ours))
    assert level.by_structure["a"] - level.by_structure["b"] == pytest.approx(0.1)
    (nothing,) = report.gains(made_up(0.0), "ours", [0.1])
    assert nothing.difference.ci_low < 0 < nothing.difference.ci_high


def test_the_interval_over_both_covers_the_truth_although_every_case_moves_with_the_seed(script) -> None:
    """Drawn 1000 times: 3 seeds with an effect each, 42 cases with an effect each, and noise."""
    generator = np.random.default_rng(0)
    covered, by_cases = 0, 0
    for _ in range(1000):
        table = 0.01 + generator.normal(0, 0.01, (3, 1)) + generator.normal(0, 0.02, 42)
        table = table + generator.normal(0, 0.01, (3, 42))
        low, high = script["report"].interval_over_both(table)
        covered += low < 0.01 < high
        means = table.mean(0)
        half = 2 * means.std(ddof=1) / 42**0.5
        by_cases += abs(means.mean() - 0.01) < half
    assert covered > 920
    assert by_cases < 750  # what an interval over cases alone would promise


def test_the_interval_over_both_is_student_s_where_one_effect_is_all(script) -> None:
    from scipy import stats

    interval = script["report"].interval_over_both
    by_seed = np.array([0.01, 0.02, 0.06])
    wanted = stats.t.interval(0.95, 2, loc=by_seed.mean(), scale=stats.sem(by_seed))
    assert interval(np.tile(by_seed[:, None], 50)) == pytest.approx(wanted)
    by_case = np.random.default_rng(0).normal(0, 1, 30)
    wanted = stats.t.interval(0.95, 29, loc=by_case.mean(), scale=stats.sem(by_case))
    assert interval(np.tile(by_case, (3, 1))) == pytest.approx(wanted)
    assert interval(np.full((3, 4), 0.5)) == (0.5, 0.5)


def test_nothing_is_known_of_other_seeds_from_one(script) -> None:
    interval = script["report"].interval_over_both
    table = np.random.default_rng(0).normal(0, 1, (3, 20))
    assert all(math.isnan(end) for end in interval(table[:1]))
    complete = interval(table[:, 1:])
    table[0, 0] = math.nan
    assert interval(table) == pytest.approx(complete)


def test_a_structure_in_neither_mask_is_left_out(script) -> None:
    scores = made_up(0.02, cases=5)
    for run in scores.values():
        run["case000"] = {"a": math.nan, "b": math.nan}
    report = script["report"]
    (gain,) = report.gains(scores, "ours", [0.1])
    assert (gain.difference.pairs, gain.difference.undefined) == (4, 1)
    assert not math.isnan(report.level(scores, "ours", 0.1, cases=1, steps=1).dice)
