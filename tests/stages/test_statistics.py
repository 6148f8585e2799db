"""Stages that take batch norm statistics anew: those of all calibration images, however these lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tinynet import digits, make_context
from torch import nn

from compress.data.images import ImageSet
from compress.net import Net
from compress.ops.batchnorm import reestimate
from compress.stages.base import Plan, Stage
from compress.stages.decompose import Decompose
from compress.stages.prune import Prune
from compress.training.batch import inputs, mixed_batches


def class_by_class(count: int) -> ImageSet:
    """Digits as folders have them, the brighter the higher."""
    data = digits(0, count)
    data = data.take(np.argsort(data.targets, kind="stable"))
    share = (0.1 + 0.1 * data.targets)[:, None, None, None]
    return replace(data, images=(data.images * share).astype(np.uint8))


def apart(net: Net, data: ImageSet) -> float:
    """How far the net's means and variances are from those over ``data`` as one batch, relatively."""
    images = torch.from_numpy(data.images).permute(0, 3, 1, 2)
    whole = net.copy()
    reestimate(whole.module, [inputs(images, net.preprocess)])
    norms = [
        (a, b)
        for a, b in zip(net.module.modules(), whole.module.modules(), strict=True)
        if isinstance(a, nn.BatchNorm2d)
    ]
    means = [(a.running_mean - b.running_mean) / b.running_var.sqrt() for a, b in norms]
    variances = [a.running_var / b.running_var - 1 for a, b in norms]
    return max(float(difference.abs().max()) for difference in (*means, *variances))


def test_every_batch_has_its_share_of_every_class(small_net: Net) -> None:
    data = class_by_class(200)
    sizes = [len(batch) for batch in mixed_batches(data, small_net.preprocess, 64)]
    assert sizes == [50, 50, 50, 50]
    labels = np.zeros_like(data.images) + data.targets.astype(np.uint8)[:, None, None, None]
    coded = replace(data, images=labels)
    counts = np.bincount(data.targets)
    for batch in mixed_batches(coded, small_net.preprocess, 64):
        classes = (batch[:, 0, 0, 0] * 127.5 + 127.5).round().long()
        assert np.abs(np.bincount(classes, minlength=10) - counts / 4).max() < 1
    (whole,) = mixed_batches(data, small_net.preprocess, 200)
    assert torch.equal(whole, inputs(torch.from_numpy(data.images).permute(0, 3, 1, 2), small_net.preprocess))
    assert list(mixed_batches(data.take(np.arange(0)), small_net.preprocess)) == []


@pytest.mark.parametrize(
    ("stage", "plan"),
    [
        (Decompose(epochs=0), Plan(what={"dense.0": [8, 8]})),
        (Prune(epochs=0, importance="l1"), Plan(what={"widths": [{"dense.0": 16}]})),
    ],
    ids=["decompose", "prune"],
)
@pytest.mark.parametrize("count", [128, 256])
def test_statistics_are_those_of_all_images_at_once(
    stage: Stage, plan: Plan, count: int, learned_net: Net, tmp_path: Path
) -> None:
    data = class_by_class(count)
    ctx = replace(make_context(tmp_path, learned_net), calib=data)
    net = stage.apply(learned_net.copy(), plan, ctx)
    assert apart(net, data) < 0.01
    images = inputs(torch.from_numpy(data.images).permute(0, 3, 1, 2), net.preprocess)
    reestimate(net.module, images.split(count // 2))  # as they lie
    assert apart(net, data) > 0.05
