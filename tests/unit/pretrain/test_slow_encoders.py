"""Self-distillation and MoBY: losses as written out, a slow encoder that follows, a queue of keys."""

import math
from dataclasses import replace

import pytest
import torch

from pretrain.config import JitterConfig, PretrainConfig
from pretrain.module import PretrainModule
from pretrain.proxies.config import (
    ContrastiveConfig,
    DistillationConfig,
    InpaintingConfig,
    MaskedConfig,
    MobyConfig,
    ProxiesConfig,
    RotationConfig,
)
from pretrain.proxies.distillation import Distillation
from pretrain.proxies.moby import Moby
from pretrain.proxies.slow_encoder import momentum_at
from pretrain.scans.config import ScansConfig
from pretrain.views import Views, start_views
from swin_unetr.config import NetworkConfig, OptimizerConfig
from swin_unetr.errors import ConfigError
from swin_unetr.networks import SwinEncoder
from swin_unetr.training.decay import decay_facts, parameter_groups

NETWORK = NetworkConfig(
    feature_size=12, depths=(1, 1), num_heads=(2, 4), window_size=(4, 4, 4), drop_path_rate=0.3, drop_rate=0.2
)
SMALL = {"weight": 1.0, "hidden": 16, "embedding": 8}


def views(count: int = 2, crops: int = 3) -> Views:
    image = torch.rand(crops, 1, 16, 16, 16, generator=torch.Generator().manual_seed(5))
    made = start_views(image, torch.arange(crops), count, JitterConfig(probability=1), torch.Generator().manual_seed(1))
    mask = torch.rand(count * crops, 8, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.5
    return made.with_notes(masked=mask)


def student() -> SwinEncoder:
    torch.manual_seed(7)
    return SwinEncoder(NETWORK)


def distillation(**options: float) -> Distillation:
    torch.manual_seed(0)
    task = Distillation(DistillationConfig(**{**SMALL, "prototypes": 5, **options}), NETWORK)
    task.begin(student())
    return task


@pytest.mark.parametrize("count", [1, 2])
def test_distillation_is_the_cross_entropy_of_sharp_targets_of_whole_views(count: int) -> None:
    given, task = views(count), distillation(tokens=2.0, pooled=0.5)
    task.centre = torch.randn(2, 5)
    output = torch.randn(len(given.whole), 1 + 8, 5)
    before = task.centre.clone()
    with torch.no_grad():
        encoded = student().eval()(given.whole)[-1]  # without dropout
        everything = torch.cat([encoded.mean((2, 3, 4))[:, None], encoded.flatten(2).transpose(1, 2)], 1)
        scores = task.head(everything)
    judged = task.judge(output, given)

    number, crops, tokens, weights, of_views, entropy = len(output), 3, 0.0, 0.0, 0.0, 0.0
    for n in range(number):
        other = (n + crops) % number if count == 2 else n
        target = torch.softmax((scores[other, 0] - before[0]) / 0.04, 0)
        of_views -= float((target * torch.log_softmax(output[n, 0] / 0.1, 0)).sum()) / number
        entropy -= float((target * target.clamp(min=1e-30).log()).sum()) / number / math.log(5)
        for place in range(8):
            x, y, z = place // 4 * 4, place // 2 % 2 * 4, place % 2 * 4
            cell = given.notes["masked"][n, x : x + 4, y : y + 4, z : z + 4].float().mean()
            target = torch.softmax((scores[n, 1 + place] - before[1]) / 0.04, 0)
            tokens -= float(cell * (target * torch.log_softmax(output[n, 1 + place] / 0.1, 0)).sum())
            weights += float(cell)
    assert float(judged.loss) == pytest.approx(0.5 * of_views + 2 * tokens / weights, rel=1e-4)
    assert float(judged.figures["entropy"]) == pytest.approx(entropy, rel=1e-3)
    means = torch.stack([scores[:, 0].mean(0), scores[:, 1:].flatten(0, 1).mean(0)])
    torch.testing.assert_close(task.centre, 0.9 * before + 0.1 * means)


def test_the_teacher_sees_what_is_masked_and_the_student_does_not_change_it() -> None:
    given, task = views(), distillation()
    output = task(student()(given.seen)[-1])
    loss = task.judge(output, given).loss
    loss.backward()
    assert not [name for name, parameter in task.teacher.named_parameters() if parameter.grad is not None]
    assert all(parameter.grad is not None for parameter in task.head.parameters())
    task.centre.zero_()
    masked = given.notes["masked"].repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = replace(given, whole=torch.where(masked[:, None], 1 - given.whole, given.whole))
    assert float(task.judge(output, other).loss.detach()) != float(loss.detach())


def test_the_slow_encoder_begins_as_the_other_and_follows_it() -> None:
    for task in (distillation(momentum=0.9), moby(momentum=0.9)):
        slow = task.teacher if isinstance(task, Distillation) else task.slow
        begun = [parameter.clone() for parameter in slow.encoder.parameters()]
        for ours, theirs in zip(begun, student().parameters(), strict=True):
            assert torch.equal(ours, theirs)
        moved = student()
        for parameter in moved.parameters():
            parameter.data.add_(1)
        task.after_step(moved, 0.0)
        for before, after in zip(begun, slow.encoder.parameters(), strict=True):
            torch.testing.assert_close(after, before + 0.1)
        task.after_step(moved, 1.0)
        for before, after in zip(begun, slow.encoder.parameters(), strict=True):
            torch.testing.assert_close(after, before + 0.1)
    assert [momentum_at(share, 0.8) for share in (0.0, 0.5, 1.0, 1.5)] == pytest.approx([0.8, 0.9, 1.0, 1.0])


def moby(**options: float) -> Moby:
    torch.manual_seed(0)
    task = Moby(MobyConfig(**{**SMALL, "queue": 9, **options}), NETWORK)
    task.begin(student())
    return task


@pytest.mark.parametrize("same_scan", [False, True])
def test_moby_is_the_info_nce_of_the_key_of_the_other_view_among_the_queue(same_scan: bool) -> None:
    given, task = views(), moby(same_scan_negatives=same_scan)
    queue = torch.nn.functional.normalize(torch.randn(9, 8), dim=1)
    scans = torch.tensor([0, 1, 2, 3, 0, 1, -1, -1, -1])
    task.queue, task.queue_scans = queue.clone(), scans.clone()
    output = torch.randn(6, 8)
    with torch.no_grad():
        keys = task.projector(student().eval()(given.whole)[-1].mean((2, 3, 4)))
    judged = task.judge(output, given)
    total, right = 0.0, 0
    for n in range(6):
        query, key = output[n] / output[n].norm(), keys[(n + 3) % 6] / keys[(n + 3) % 6].norm()
        others = [
            float(query @ queue[at]) for at in range(9) if scans[at] != -1 and (same_scan or scans[at] != given.scan[n])
        ]
        own = float(query @ key)
        total += -own / 0.2 + math.log(sum(math.exp(each / 0.2) for each in (own, *others)))
        right += all(own > each for each in others)
    assert float(judged.loss) == pytest.approx(total / 6, rel=1e-5)
    assert float(judged.figures["top1"]) == pytest.approx(right / 6)
    normed = torch.nn.functional.normalize(keys, dim=1)
    torch.testing.assert_close(task.queue, torch.cat([normed, queue])[:9])
    assert task.queue_scans.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]


def test_an_empty_queue_teaches_nothing() -> None:
    task = moby()
    output = torch.randn(6, 8, requires_grad=True)
    loss = task.judge(output, views()).loss
    loss.backward()
    assert float(loss) == 0
    assert not output.grad.any()


def proxies(**chosen: object) -> ProxiesConfig:
    nothing = {
        "rotation": RotationConfig(weight=0),
        "inpainting": InpaintingConfig(weight=0),
        "contrastive": ContrastiveConfig(weight=0),
    }
    return ProxiesConfig(**{**nothing, **chosen})


def test_the_optimiser_has_no_slow_encoder() -> None:
    config = PretrainConfig(
        network=NETWORK,
        scans=ScansConfig(crop_size=(16, 16, 16)),
        proxies=proxies(
            moby=MobyConfig(**SMALL), masked=MaskedConfig(weight=1, cube=8), distillation=DistillationConfig(**SMALL)
        ),
    )
    network = PretrainModule(config).network
    trained = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    assert len(trained) < len(list(network.parameters()))
    for decay_all in (True, False):
        groups = parameter_groups(network, OptimizerConfig(decay_all=decay_all))
        found = [each for group in groups for each in group["params"]] if not decay_all else groups
        assert {id(parameter) for parameter in found} == trained
    facts = decay_facts(network, OptimizerConfig(decay_all=False))["weight_decay"]
    assert sum(facts.values()) == len(trained)


def test_what_a_task_needs_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"distillation\.weight: .* nothing is masked"):
        proxies(distillation=DistillationConfig(**SMALL))
    with pytest.raises(ValueError, match="views: the task moby"):
        PretrainConfig(
            network=NETWORK,
            scans=ScansConfig(crop_size=(16, 16, 16)),
            views=1,
            proxies=proxies(moby=MobyConfig(**SMALL)),
        )
    with pytest.raises(ConfigError, match="one scan"):
        MobyConfig(**SMALL).check_data(1)
    for wrong in ({"momentum": 1.0}, {"queue": 0}, {"temperature": 0.0}, {"hidden": 0}, {"embedding": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MobyConfig(**wrong)
    for wrong in (
        {"teacher_temperature": 0.0},
        {"centre_momentum": 1.0},
        {"tokens": 0.0, "pooled": 0.0},
        {"prototypes": 1},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DistillationConfig(**wrong)
