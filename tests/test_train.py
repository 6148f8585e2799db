"""The training loop on real digits: it learns, it is exact, it resumes, it fails clearly."""

from __future__ import annotations

import io
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tinynet import DIGITS, TinyNet, digits, tiny_net
from torch import Tensor, nn
from torch.nn import functional as F

from compress.errors import DivergedError, InputError
from compress.net import Net
from compress.ops.batchnorm import reestimate
from compress.train import FitResult, TrainSpec, fit, macro_f1, predict_logits
from compress.training import checkpoint
from compress.training.batch import inputs, mixup
from compress.training.ema import Ema
from compress.training.losses import class_balanced_weights, make_loss, soft_targets
from compress.training.optim import lr_at, make_optimizer, param_groups


def spec(**changes: Any) -> TrainSpec:
    settings: dict[str, Any] = {"epochs": 3, "augment": {"kind": "none"}, "device": "cpu"}
    return TrainSpec.model_validate({**settings, **changes})


def train(net: Net, settings: TrainSpec, images: int = 100, **rest: Any) -> FitResult:
    rest.setdefault("log", lambda line: None)
    return fit(net.module, digits(0, images), settings, preprocess=DIGITS, **rest)


def state(net: Net) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# What it does ---------------------------------------------------------------------------------------


def test_it_learns_digits_and_measures_what_the_model_has() -> None:
    net = tiny_net()
    result = train(net, spec(epochs=6), images=800, tune=digits(800, 1100))
    assert result.best_f1 is not None
    assert result.best_f1 > 0.9
    logits = predict_logits(net.module, digits(800, 1100), DIGITS)
    assert macro_f1(digits(800, 1100).targets, logits.argmax(1)) == result.best_f1
    assert not net.module.training
    assert [r["epoch"] for r in result.history] == [1, 2, 3, 4, 5, 6]
    assert result.epochs_run == 6
    assert result.history[-1]["loss"] < result.history[0]["loss"] / 2
    assert result.seconds > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "lr": 0.01, "schedule": "cosine"},
        {"loss": "class_balanced", "clip_grad": 1.0},
        {"loss": "logit_adjusted", "channels_last": False},
        {"precision": "bf16"},
        {"ema": 0.9},
        {"mixup": 0.2},
        {"augment": {"kind": "randaugment"}, "views": 2},
    ],
    ids=lambda c: "-".join(map(str, c.values())),
)
def test_every_setting_trains_repeats_exactly_and_changes_the_result(changes: dict[str, Any]) -> None:
    states = []
    for settings in (spec(**changes), spec(**changes), spec()):
        net = tiny_net()
        result = train(net, settings, images=200)
        assert result.history[-1]["loss"] < result.history[0]["loss"]
        states.append(state(net))
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def test_only_the_seed_draws_and_the_global_generators_stay_as_they_were() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    nets = [tiny_net(), tiny_net(), tiny_net()]
    train(nets[0], spec(), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)  # another global state, the same training
    train(nets[1], spec(), seed=1)
    train(nets[2], spec(), seed=2)
    assert same(state(nets[0]), state(nets[1]))
    assert not same(state(nets[0]), state(nets[2]))


def test_no_epochs_leave_the_net_as_it_is() -> None:
    net = tiny_net()
    result = train(net, spec(epochs=0))
    assert result.epochs_run == 0
    assert result.best_f1 is None
    assert same(state(net), state(tiny_net()))


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    net = tiny_net()
    train(net, spec(epochs=1, batch_size=64), images=20)
    assert not same(state(net), state(tiny_net()))


def test_images_of_another_size_are_resized_for_the_net() -> None:
    net = tiny_net()
    small = replace(DIGITS, size=12)
    result = fit(net.module, digits(0, 64), spec(), preprocess=small, log=lambda line: None)
    assert result.epochs_run == 3
    images = torch.from_numpy(digits(0, 4).images).permute(0, 3, 1, 2)
    assert inputs(images, small).shape == (4, 3, 12, 12)
    assert torch.equal(inputs(images, DIGITS), DIGITS.normalise(images))


def test_a_loss_of_ones_own_sees_logits_soft_targets_and_images() -> None:
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        seen.append((logits.detach(), soft, images))
        return F.cross_entropy(logits, soft)

    train(tiny_net(), spec(epochs=1, label_smoothing=0.2), loss=loss)
    logits, soft, images = seen[0]
    assert logits.shape == soft.shape == (32, 10)
    assert logits.dtype == torch.float32
    assert images.shape == (32, 3, 16, 16)
    assert images.dtype == torch.uint8
    assert soft.sum(1).allclose(torch.ones(32))
    assert soft.max(1).values.allclose(torch.tensor(0.82))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_views_bring_the_same_batches_back(share: float) -> None:
    sums: list[float] = []

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        sums.append(float(images.double().sum()))
        return F.cross_entropy(logits, soft)

    settings = spec(epochs=5, views=2, mixup=share, augment={"kind": "flip_crop"})
    train(tiny_net(), settings, images=64, loss=loss)
    assert len(sums) == 10
    assert sums[0:4] == sums[4:8]
    assert sums[0:2] == sums[8:10]
    assert len(set(sums)) == 4


# Interrupted and taken up again -----------------------------------------------------------------------


class Interrupted(Exception):
    pass


def breaking(at: int) -> Any:
    """A loss that gives up at its ``at``-th call."""
    calls = 0

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Interrupted
        return F.cross_entropy(logits, soft)

    return loss


@pytest.mark.parametrize("at", [5, 7], ids=["first step of an epoch", "inside an epoch"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"ema": 0.9, "mixup": 0.3, "patience": 5}, {"optimizer": "adamw", "lr": 0.003}],
    ids=["sgd", "ema-mixup-patience", "adamw"],
)
def test_a_resumed_training_is_the_uninterrupted_one_to_the_bit(
    tmp_path: Path, at: int, changes: dict[str, Any]
) -> None:
    settings = spec(epochs=4, batch_size=25, augment={"kind": "flip_crop"}, **changes)  # 4 steps an epoch
    rest = {"tune": digits(200, 260), "loss": breaking(0)}
    whole = tiny_net()
    expected = train(whole, settings, **rest)

    net = tiny_net()
    with pytest.raises(Interrupted):
        train(net, settings, **{**rest, "loss": breaking(at)}, work=tmp_path)
    assert not net.module.training
    lines: list[str] = []
    net = tiny_net()
    result = train(net, settings, **rest, work=tmp_path, log=lines.append)
    assert "after epoch 1" in lines[0]
    assert same(state(net), state(whole))
    for mine, theirs in zip(result.history, expected.history, strict=True):
        assert {**mine, "seconds": 0, "waited": 0} == {**theirs, "seconds": 0, "waited": 0}

    again = tiny_net()
    lines.clear()
    assert train(again, settings, **rest, work=tmp_path, log=lines.append).history == result.history
    assert lines == []
    assert same(state(again), state(whole))


@pytest.mark.parametrize("what", ["spec", "seed", "weights", "data"])
def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path: Path, what: str) -> None:
    train(tiny_net(), spec(), work=tmp_path)
    lines: list[str] = []
    result = train(
        tiny_net(seed=5 if what == "weights" else 0),
        spec(lr=0.05) if what == "spec" else spec(),
        images=99 if what == "data" else 100,
        seed=3 if what == "seed" else 0,
        work=tmp_path,
        log=lines.append,
    )
    assert "belongs to another training" in lines[0]
    assert result.epochs_run == 3


def test_a_broken_checkpoint_is_named_and_training_starts_afresh(tmp_path: Path) -> None:
    train(tiny_net(), spec(), work=tmp_path)
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:1000])
    lines: list[str] = []
    net, fresh = tiny_net(), tiny_net()
    train(net, spec(), work=tmp_path, log=lines.append)
    train(fresh, spec())
    assert str(path) in lines[0]
    assert "cannot be read" in lines[0]
    assert same(state(net), state(fresh))


def test_saving_leaves_no_half_written_file(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"fingerprint": "a", "epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(tmp_path, {"fingerprint": "a", "bad": lambda: None})
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.NAME]
    assert checkpoint.load(tmp_path, "a", print) == {"fingerprint": "a", "epoch": 1}


# Failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(tmp_path: Path, value: float) -> None:
    calls = 0

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return F.cross_entropy(logits, soft) * (value if calls > 4 else 1)

    net = tiny_net()
    with pytest.raises(DivergedError) as error:
        train(net, spec(), loss=loss, work=tmp_path)
    text = str(error.value)
    assert "epoch 2, step 2 of 3" in text
    assert str(value) in text
    assert "try an lr below 0.1" in text
    assert f"{tmp_path / checkpoint.NAME} (epoch 1)" in text
    good = torch.load(tmp_path / checkpoint.NAME, weights_only=True)
    assert all(torch.isfinite(v).all() for v in good["model"].values())
    assert all(torch.isfinite(v).all() for v in state(net).values())


def test_a_real_divergence_is_seen(tmp_path: Path) -> None:
    net = tiny_net()
    with pytest.raises(DivergedError, match=r"diverged in epoch 1.*no checkpoint yet.*clip_grad"):
        train(net, spec(lr=1e38, warmup=0.01), work=tmp_path)
    assert not (tmp_path / checkpoint.NAME).exists()


def test_broken_weights_after_a_good_loss_are_not_saved(tmp_path: Path) -> None:
    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        return F.cross_entropy(logits, soft) * 1e30  # finite, but not times the learning rate

    with pytest.raises(DivergedError, match=r"epoch 1, step 1 of 1: NaN or infinite values in \w+\.\d"):
        train(tiny_net(), spec(lr=1e12), images=32, loss=loss, work=tmp_path)
    assert not (tmp_path / checkpoint.NAME).exists()


def test_what_cannot_be_trained_is_said() -> None:
    with pytest.raises(InputError, match="at least 2 images, found 1"):
        train(tiny_net(), spec(), images=1)
    with pytest.raises(InputError, match="no tune images"):
        train(tiny_net(), spec(patience=2))
    with pytest.raises(ValidationError):
        TrainSpec(epochs=-1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(InputError, match="sees no GPU"):
        train(tiny_net(), spec(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("augment", ["none", "flip_crop", "randaugment"])
def test_a_gpu_learns_in_bf16_and_gives_the_net_back(augment: str) -> None:
    net = tiny_net()
    settings = spec(epochs=8, device="cuda", ema=0.9, augment={"kind": augment})
    if augment != "none":
        settings = settings.model_copy(update={"augment": settings.augment.model_copy(update={"flip": 0.0})})
    result = train(net, settings, images=800, tune=digits(800, 1100))
    assert result.best_f1 is not None
    assert result.best_f1 > 0.8
    assert all(v.device.type == "cpu" for v in state(net).values())


# Early stop, averaging --------------------------------------------------------------------------------


def test_early_stop_keeps_the_best_epoch() -> None:
    net = tiny_net()
    tune = digits(200, 260)

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        nonlocal steps
        steps += 1  # learn for 9 epochs of 6 steps, then unlearn
        return F.cross_entropy(logits, soft) * (1 if steps <= 54 else -1)

    steps = 0
    result = train(net, spec(epochs=40, patience=3, warmup=0.05), images=200, tune=tune, loss=loss)
    f1s = [r["f1"] for r in result.history]
    best = int(np.argmax(f1s))
    assert result.epochs_run == best + 1 + 3 < 40
    assert result.best_f1 == f1s[best] > f1s[-1]
    assert macro_f1(tune.targets, predict_logits(net.module, tune, DIGITS).argmax(1)) == f1s[best]


def test_ema_is_the_slow_reference_and_copies_counters() -> None:
    net = tiny_net()
    ema = Ema(net.module, decay=0.9)
    slow = {k: v.double().clone() for k, v in net.module.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for t in range(1, 120):
        for p in net.module.parameters():
            p.data.add_(torch.randn(p.shape, generator=generator), alpha=0.1)
        net.module.stem[1].num_batches_tracked.fill_(t)
        ema.update(net.module)
        decay = min(0.9, (1 + t) / (10 + t))
        for k, v in net.module.state_dict().items():
            slow[k] = slow[k] * decay + v.double() * (1 - decay) if v.is_floating_point() else v.double()
    assert all(torch.allclose(ema.state[k].double(), slow[k], atol=1e-5) for k in slow)
    own = state(net)
    with ema.applied(net.module):
        assert same(state(net), ema.state)
        assert not same(state(net), own)
    assert same(state(net), own)


# Parts ------------------------------------------------------------------------------------------------


def test_one_cycle_is_torchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=200, pct_start=0.3, cycle_momentum=False
    )
    for step in range(200):
        # torch turns at step pct * total - 1, that is 59 of 199, not at 0.3 * 199
        assert lr_at("one_cycle", step, 200, warmup=59 / 199) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-9
        )
        optimizer.step()
        if step < 199:
            reference.step()


@pytest.mark.parametrize("kind", ["one_cycle", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_schedules_rise_to_the_peak_and_fall_to_nothing(kind: str, steps: int) -> None:
    rates = [lr_at(kind, step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = int(np.argmax(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps == 1000:
        assert max(rates) > 0.999
        assert rates[-1] < 1e-4
        assert top / steps == pytest.approx({"one_cycle": 0.3, "cosine": 0.05}[kind], abs=0.01)


def test_biases_and_norms_do_not_decay() -> None:
    module = TinyNet()
    decayed, free = param_groups(module, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(module.parameters()))
    norm = module.stem[1]
    start = norm.weight.detach().clone()
    optimizer = make_optimizer(module, "sgd", 0.1, 0.9, 0.1)
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    conv = module.stem[0].weight.detach().clone()
    optimizer.step()
    assert torch.equal(norm.weight, start)
    assert not torch.equal(module.stem[0].weight, conv)


def slow_loss(kind: str, logits: np.ndarray, soft: np.ndarray, counts: list[int]) -> float:
    """The papers' formulas, class by class."""
    total = 0.0
    weights = [(1 - 0.99) / (1 - 0.99**n) if n else 0.0 for n in counts]
    scale = sum(n > 0 for n in counts) / sum(weights)
    for row, target in zip(logits, soft, strict=True):
        if kind == "logit_adjusted":
            row = [
                z + 1.5 * math.log(max(n, 1) / sum(max(m, 1) for m in counts))
                for z, n in zip(row, counts, strict=True)
            ]
        norm = math.log(sum(math.exp(z) for z in row))
        for c, share in enumerate(target):
            weight = weights[c] * scale if kind == "class_balanced" else 1.0
            total -= weight * share * (row[c] - norm)
    return total / len(logits)


@pytest.mark.parametrize("kind", ["cross_entropy", "class_balanced", "logit_adjusted"])
def test_losses_are_the_slow_references(kind: str) -> None:
    rng = np.random.default_rng(0)
    counts = [500, 40, 3, 0]
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    soft = soft_targets(torch.tensor([0, 1, 2, 0, 0, 1]), 4, 0.1)
    loss = make_loss(kind, torch.tensor(counts), beta=0.99, tau=1.5)
    found = loss(torch.from_numpy(logits), soft, torch.empty(0))
    assert float(found) == pytest.approx(slow_loss(kind, logits, soft.numpy(), counts), rel=1e-5)


def test_class_balanced_weights_go_from_equal_to_inverse_frequency() -> None:
    counts = torch.tensor([100, 10])
    equal, inverse = class_balanced_weights(counts, 0.0), class_balanced_weights(counts, 0.999999)
    assert equal.tolist() == [1.0, 1.0]
    assert float(inverse[1] / inverse[0]) == pytest.approx(10, rel=1e-3)
    assert float(inverse.mean()) == pytest.approx(1)


def test_mixup_blends_images_and_targets_alike() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 2, 2) * 80
    soft = F.one_hot(torch.arange(4), 4).float()
    mixed, targets = mixup(images, soft, 1.0, np.random.default_rng(3))
    assert not torch.equal(mixed, images.float())
    assert targets.sum(1).allclose(torch.ones(4))
    assert mixed[:, 0, 0, 0].allclose(targets @ (torch.arange(4).float() * 80), atol=1e-3)


def test_predictions_keep_order_mode_and_batch_size() -> None:
    net = tiny_net()
    net.module.train()
    net.module.stem.eval()
    data = digits(0, 70)
    whole = predict_logits(net.module, data, DIGITS)
    assert whole.shape == (70, 10)
    assert whole.dtype == np.float32
    assert np.allclose(whole, predict_logits(net.module, data, DIGITS, batch_size=9), atol=1e-5)
    assert net.module.training
    assert not net.module.stem.training
    x = DIGITS.normalise(torch.from_numpy(data.images[5:6]).permute(0, 3, 1, 2))
    assert np.allclose(whole[5], net.module.eval()(x).detach().numpy(), atol=1e-5)


def test_a_log_gets_few_lines_and_no_bar(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    train(tiny_net(), spec(epochs=40), images=32, tune=digits(200, 230), log=lines.append, progress=True)
    assert len(lines) == 12
    assert "40 epochs of 1 steps" in lines[0]
    assert lines[-1].startswith("epoch 40/40: loss ")
    assert "tune F1 0." in lines[-1]
    assert capfd.readouterr() == ("", "")


# Batch-norm statistics --------------------------------------------------------------------------------


def test_reestimated_statistics_are_those_of_all_values_at_once() -> None:
    net = tiny_net()
    x = DIGITS.normalise(torch.from_numpy(digits(0, 100).images).permute(0, 3, 1, 2))
    net.module.train()
    before = state(net)
    assert reestimate(net.module, x.split(30)) == 8
    values = net.module.stem[0](x).double()
    norm = net.module.stem[1]
    assert torch.allclose(norm.running_mean.double(), values.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(norm.running_var.double(), values.var((0, 2, 3)), rtol=1e-5)
    changed = {k for k, v in state(net).items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.endswith(("running_mean", "running_var")) for k in changed)
    assert norm.momentum == 0.1
    assert net.module.training


def test_reestimation_in_one_batch_makes_eval_agree_with_training_mode() -> None:
    net = tiny_net()
    x = DIGITS.normalise(torch.from_numpy(digits(0, 200).images).permute(0, 3, 1, 2))
    reestimate(net.module, [x])
    with torch.no_grad():
        evaluated = net.module.eval()(x)
        net.module.head[2].p = 0.0
        trained = net.module.train()(x)
    assert torch.allclose(evaluated, trained, atol=1e-3)


def test_reestimation_without_norms_or_batches_does_nothing() -> None:
    assert reestimate(nn.Sequential(nn.Conv2d(3, 4, 1)), [torch.zeros(2, 3, 4, 4)]) == 0
    net = tiny_net()
    assert reestimate(net.module, []) == 0
    assert same(state(net), state(tiny_net()))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_loss_f1_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", terminal)
    lines: list[str] = []
    train(tiny_net(), spec(), images=64, tune=digits(200, 230), log=lines.append, progress=True)
    drawn = terminal.getvalue()
    assert "epochs  loss 2." in drawn or "epochs  loss 1." in drawn
    assert "tune F1 0." in drawn
    assert "3.0/3" in drawn or "3/3" in drawn
    assert len(lines) == 1  # the bar takes the place of the lines
