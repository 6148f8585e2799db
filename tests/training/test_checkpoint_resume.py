"""A training that was interrupted goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import spec, train
from tinynet import digits, same, state, tiny_net
from torch import Tensor
from torch.nn import functional as F

from compress.training import checkpoint


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


@pytest.mark.parametrize(
    ("changes", "pauses"),
    [
        ({"ema": 0.9, "mixup": 0.3, "epochs": 4}, (1, 3)),
        # learns at first, then a step too long spoils it: stopped between the pauses, and none goes on
        ({"optimizer": "adamw", "lr": 0.5, "patience": 2, "epochs": 30, "warmup": 0.9}, (1, 28)),
    ],
    ids=["ema", "patience"],
)
def test_a_training_with_pauses_is_the_one_without(
    tmp_path: Path, changes: dict[str, Any], pauses: tuple[int, ...]
) -> None:
    settings = spec(batch_size=25, **changes)
    rest = {"tune": digits(200, 260)}
    whole = tiny_net()
    expected = train(whole, settings, **rest)
    assert (expected.epochs_run < settings.epochs) == (settings.patience is not None)
    for until in pauses:
        net = tiny_net()
        paused = train(net, settings, **rest, work=tmp_path, until=until)
        assert paused.epochs_run == min(until, expected.epochs_run)
        assert not net.module.training
        lines: list[str] = []
        train(again := tiny_net(), settings, **rest, work=tmp_path, until=until, log=lines.append)
        assert lines == []  # nothing is trained twice
        assert same(state(again), state(net))
    net = tiny_net()
    result = train(net, settings, **rest, work=tmp_path)
    assert same(state(net), state(whole))
    assert result.best_f1 == expected.best_f1
    for mine, theirs in zip(result.history, expected.history, strict=True):
        assert {**mine, "seconds": 0, "waited": 0} == {**theirs, "seconds": 0, "waited": 0}


def test_a_pause_leaves_the_moving_average(tmp_path: Path) -> None:
    settings, net = spec(epochs=4, ema=0.9), tiny_net()
    train(net, settings, work=tmp_path, until=2)
    saved = torch.load(tmp_path / checkpoint.NAME, weights_only=True)
    assert same(state(net), saved["ema"]["state"])
    assert not same(state(net), saved["model"])


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
