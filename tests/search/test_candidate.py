"""A candidate's hash is of what is built, and its file is a model file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress import yamlio
from compress.data.augment import CompetitionAugment, RandAugment
from compress.models import arch
from compress.train import TrainSpec
from search.candidate import Candidate

TAIL: list[list[Any]] = [[1, "GlobalAvgPool", []], [1, "FixedConv", [6, 1, 1, None, 1, None]]]


def net(*rows: list[Any], depth: float = 1.0, width: float = 1.0, size: int = 32, **train: Any) -> Candidate:
    model = {"input_channel": 3, "depth_multiple": depth, "width_multiple": width, "backbone": [*rows, *TAIL]}
    return Candidate(model, size, train)


FLAT: list[Any] = [1, "Flatten", []]
V2 = [1, "InvertedResidualv2", [32, 4, 2]]
SAME: dict[str, tuple[Candidate, Candidate]] = {
    "depth": (net([4, "Conv", [32, 3, 1]], depth=0.5), net([2, "Conv", [32, 3, 1]])),
    "depth never goes below one": (
        net([2, "Conv", [32, 3, 1]], depth=0.25),
        net([1, "Conv", [32, 3, 1]], depth=0.5),
    ),
    "width": (net([1, "Conv", [64, 3, 1]], width=0.5), net([1, "Conv", [32, 3, 1]])),
    "width is rounded": (net([1, "Conv", [36, 3, 1]], width=0.9), net([1, "Conv", [32, 3, 1]])),
    "defaults": (net([1, "Conv", [32, 3]]), net([1, "Conv", [32, 3, 1, None, 1, "ReLU"]])),
    "padding": (net([1, "Conv", [32, 3, 2]]), net([1, "Conv", [32, 3, 2, 1]])),
    "names": (
        net([1, "Conv", [32, 3, 1, None, 1, "HardSwish"]]),
        net([1, "Conv", [32, 3, 1, None, 1, "Hardswish"]]),
    ),
    "one group": (net([1, "DWConv", [32, 3, 2]]), net([1, "Conv", [32, 3, 2]])),  # of 3 channels
    "rows": (
        net([2, "Conv", [32, 3, 2]], V2),
        net([1, "Conv", [32, 3, 1]], [1, "Conv", [32, 3, 2]], V2),
    ),
    "numbers": (net(V2), net([1, "InvertedResidualv2", [32.0, 4.0, 2]])),
    "hidden channels": (  # 4.9 and 5.1 times 16 are 80 to a multiple of 8
        net([1, "Conv", [16, 3, 1]], [1, "InvertedResidualv3", [3, 4.9, 24, 0, 0, 2]]),
        net([1, "Conv", [16, 3, 1]], [1, "InvertedResidualv3", [3, 5.1, 24, 0, 0, 2]]),
    ),
    "flattened logits": (net(V2), replace(net(V2), model={**net(V2).model, "backbone": [V2, *TAIL, FLAT]})),
    "training": (net(V2, epochs=5), net(V2, epochs=9)),
}
OTHER: dict[str, tuple[Candidate, Candidate]] = {
    "size": (net(V2), net(V2, size=48)),
    "activation": (net([1, "Conv", [32, 3, 1]]), net([1, "Conv", [32, 3, 1, None, 1, "ReLU6"]])),
    "stride": (net([1, "Conv", [32, 3, 1]]), net([1, "Conv", [32, 3, 2]])),
    "where the stride is": (  # of a Conv on the last, of an inverted residual on the first
        net([1, "Conv", [32, 3, 1]], [1, "Conv", [32, 3, 2]]),
        net([1, "Conv", [32, 3, 2]], [1, "Conv", [32, 3, 1]]),
    ),
    "order": (net(V2, [1, "Conv", [32, 3, 1]]), net([1, "Conv", [32, 3, 1]], V2)),
    "flags": (
        net([1, "InvertedResidualv3", [3, 4, 24, 0, 0, 2]]),
        net([1, "InvertedResidualv3", [3, 4, 24, 1, 0, 2]]),
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_one_net_has_one_digest(case: str) -> None:
    one, other = SAME[case]
    assert one.digest == other.digest
    assert len(one.digest) == 20
    shapes = [[v.shape for v in arch.build(c.model).state_dict().values()] for c in (one, other)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("case", OTHER)
def test_other_nets_have_others(case: str) -> None:
    one, other = OTHER[case]
    assert one.digest != other.digest


def test_the_key_is_of_the_training_too() -> None:
    assert net(V2, epochs=5).key != net(V2, epochs=9).key
    assert net(V2, epochs=5).key == net(V2, epochs=5).key


def test_storage_gives_an_equal_candidate() -> None:
    candidate = net(V2, epochs=5, augment={"kind": "competition", "n_select": 4})
    again = Candidate.from_dict(json.loads(json.dumps(candidate.to_dict())))
    assert again == candidate
    assert again.key == candidate.key


def test_its_file_is_a_model_file(tmp_path: Path) -> None:
    candidate = net([2, "Conv", [32, 3, 2, None, 1, "ReLU6"]], V2)
    (tmp_path / "net.yaml").write_text(candidate.to_yaml())
    assert yamlio.read(tmp_path / "net.yaml") == candidate.model
    assert arch.plan(tmp_path / "net.yaml", size=32).rows == arch.plan(candidate.model, size=32).rows
    assert "  - [2, Conv, [32, 3, 2, null, 1, ReLU6]]\n" in candidate.to_yaml()


def test_training_changes_what_it_names() -> None:
    base = TrainSpec(epochs=60, augment=CompetitionAugment(level=9, n_select=2), label_smoothing=0.2)
    changed = net(V2, epochs=5, augment={"kind": "competition", "n_select": 4}).training(base)
    assert changed == base.model_copy(
        update={"epochs": 5, "augment": CompetitionAugment(level=9, n_select=4)}
    )
    assert net(V2).training(base) == base


def test_an_augment_of_another_kind_takes_its_place() -> None:
    base = TrainSpec(augment=RandAugment(n=3))
    changed = net(V2, augment={"kind": "competition", "n_select": 4}).training(base)
    assert changed.augment == CompetitionAugment(n_select=4)
