"""What every stage must do, whatever it does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tinynet import make_context

from compress import yamlio
from compress.errors import NoEffectError
from compress.inputs import fingerprint
from compress.net import Net
from compress.plugins import BUILT_IN
from compress.recipe import Recipe
from compress.stages.base import Plan, Stage

# Few epochs, and nothing that a measurement may veto: the contract is about what happens when it runs.
STAGES = [
    BUILT_IN["prune"](target=0.3, epochs=1, steps=1, round_to=4),
    BUILT_IN["decompose"](epochs=1, energy=0.6),
    BUILT_IN["distill"](epochs=1),
    BUILT_IN["quantize"](fallback=False),
    BUILT_IN["resize"](size=12, epochs=1),
    BUILT_IN["finetune"](epochs=1),
]
FORCED = {  # what a measurement would veto on so small a net, in PyTorch
    "decompose": Plan(what={"dense.0": [8, 8]}, measured=True),
    "quantize": Plan(what={"method": "minmax", "exclude": []}, measured=True),
}


def test_every_built_in_stage_is_here() -> None:
    assert {stage.kind for stage in STAGES} == set(BUILT_IN)


@pytest.mark.parametrize("kind", list(BUILT_IN))
def test_default_constructible_frozen_and_its_yaml_is_itself(kind: str, tmp_path: Path) -> None:
    stage = BUILT_IN[kind]()
    assert stage.kind == kind
    with pytest.raises(ValueError, match="frozen"):
        stage.label = "other"  # type: ignore[misc]
    recipe = Recipe(name="x", stages=(stage,))
    file = tmp_path / "x.yaml"
    file.write_text(recipe.to_yaml())
    assert Recipe.from_yaml(file, files=False).stages == (stage,)
    short = yamlio.dump({"name": "x", "stages": [{"kind": kind}]})
    file.write_text(short)
    assert Recipe.from_yaml(file, files=False).stages == (stage,)


def _plan(stage: Stage, net: Net, work: Path) -> Plan:
    return FORCED.get(stage.kind) or stage.plan(net, make_context(work, net))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.kind)
def test_plan_leaves_the_net_and_apply_is_deterministic_and_keeps_the_shape(
    stage: Stage, learned_net: Net, tmp_path: Path
) -> None:
    before = fingerprint(learned_net)
    plan = _plan(stage, learned_net, tmp_path / "plan")
    assert fingerprint(learned_net) == before
    assert plan.skip is None
    results = [
        stage.apply(learned_net.copy(), plan, make_context(tmp_path / str(i), learned_net)) for i in range(2)
    ]
    assert fingerprint(learned_net) == before
    assert fingerprint(results[0]) == fingerprint(results[1])
    assert fingerprint(results[0]) != before
    for net in results:
        x = torch.randn(3, 3, net.preprocess.size, net.preprocess.size)
        assert net.module.eval()(x).shape == (3, len(learned_net.labels))
        assert net.labels == learned_net.labels


@pytest.mark.parametrize("kind", ["prune", "decompose", "quantize", "resize"])
def test_an_empty_plan_is_no_quiet_success(kind: str, learned_net: Net, tmp_path: Path) -> None:
    with pytest.raises(NoEffectError):
        BUILT_IN[kind]().apply(learned_net.copy(), Plan(), make_context(tmp_path, learned_net))
