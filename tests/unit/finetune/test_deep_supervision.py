"""Deep supervision against a loss that is written out, and the network that is saved without it."""

import pytest
import torch

from finetune.config import FinetuneConfig, LossConfig
from finetune.deep_supervision import AuxiliaryHeads, level_weights, supervise
from finetune.losses import SegmentationLoss
from finetune.module import FinetuneModule
from swin_unetr.config import InferenceConfig, NetworkConfig, SamplingConfig
from swin_unetr.networks import build_network
from swin_unetr.tasks import Task, exclusive

TWO = Task(name="two", modality="MR", channels=("T1",), targets=exclusive(("a", "b")), ignore_label=9)
SMALL = NetworkConfig(
    num_classes=3, feature_size=4, depths=(1, 1, 1), num_heads=(1, 1, 1), window_size=(2, 2, 2),
    merge_strides=((2, 2, 2), (2, 2, 1), (1, 1, 1)),
)  # fmt: skip
SIZE = (16, 16, 16)


def test_each_resolution_has_half_the_weight_of_the_finer_one() -> None:
    assert level_weights(1) == (1.0,)
    assert level_weights(3) == pytest.approx((4 / 7, 2 / 7, 1 / 7))


def test_the_loss_is_the_weighted_sum_over_resolutions() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randn(2, 3, *size, generator=generator) for size in ((8, 8, 8), (4, 4, 8), (2, 2, 4))]
    targets = torch.randint(0, 3, (2, 1, 8, 8, 8), generator=generator, dtype=torch.uint8)
    targets[0, :, :2] = 255
    loss = SegmentationLoss(LossConfig(), TWO)
    half, quarter = targets[:, :, 1::2, 1::2], targets[:, :, 2::4, 2::4, 1::2]  # the voxel nearest to the middle
    expected = 4 / 7 * loss(scores[0], targets) + 2 / 7 * loss(scores[1], half) + 1 / 7 * loss(scores[2], quarter)
    assert float(supervise(loss, scores, targets)) == pytest.approx(float(expected), rel=1e-6)


def test_class_weights_and_ignored_voxels_count_at_every_resolution() -> None:
    """An ignored voxel gives no gradient where it is the nearest one; elsewhere each class has its weight."""
    config = LossConfig(dice=0, class_weights=(1.0, 4.0, 0.5))
    loss = SegmentationLoss(config, TWO)
    generator = torch.Generator().manual_seed(1)
    scores = [torch.randn(1, 3, size, size, size, generator=generator, requires_grad=True) for size in (8, 4)]
    targets = torch.randint(0, 3, (1, 1, 8, 8, 8), generator=generator, dtype=torch.uint8)
    targets[:, :, :4] = 255
    total = supervise(loss, scores, targets)
    total.backward()
    expected = torch.zeros(())
    for weight, each, step in zip(level_weights(2), scores, (1, 2), strict=True):
        nearest = targets[0, 0, step // 2 :: step, step // 2 :: step, step // 2 :: step].long()
        classes = nearest.masked_fill(nearest == 255, -100)
        of_classes = torch.tensor(config.class_weights)
        expected = expected + weight * torch.nn.functional.cross_entropy(each, classes[None], weight=of_classes)
        assert each.grad is not None
        assert not each.grad[:, :, : 4 // step].any()
        assert each.grad[:, :, 4 // step :].any()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_heads_read_the_decoder_between_the_finest_and_the_coarsest_map() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL)
    heads = AuxiliaryHeads(network)
    image = torch.randn(1, 1, *SIZE)
    scores = heads(network, image)
    assert [tuple(each.shape[1:]) for each in scores] == [(3, 16, 16, 16), (3, 8, 8, 8), (3, 4, 4, 4)]
    assert torch.equal(scores[0], network(image))
    sum(each.sum() for each in scores).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in heads.parameters())


def test_the_network_itself_is_none_the_wiser() -> None:
    config = FinetuneConfig(
        network=SMALL, deep_supervision=True,
        sampling=SamplingConfig(crop_size=SIZE), inference=InferenceConfig(roi_size=SIZE),
    )  # fmt: skip
    module = FinetuneModule(build_network(SMALL), TWO, config)
    assert module.network.state_dict().keys() == build_network(SMALL).state_dict().keys()
    batch = {"image": torch.randn(1, 1, *SIZE), "label": torch.ones(1, 1, *SIZE, dtype=torch.uint8)}
    assert module.training_step(batch, 0).item() > 0
    names = {name.split(".")[0] for name, _ in module.named_parameters()}
    assert names == {"network", "auxiliary"}
