"""Mistakes in the ablation section and in retry: one line each, with its place, all in one pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress import Distill, InputError, Prune, Recipe
from compress.stages.base import Stage

STAGES = "stages:\n  - {kind: prune}\n  - {kind: quantize}\n"


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "r.yaml"
    file.write_text("name: x\n" + text)
    with pytest.raises(InputError) as caught:
        Recipe.from_yaml(file)
    return [line.removeprefix(f"{file}:") for line in caught.value.problems]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kinds: [leave_one_uot]", "5: ablation.kinds[0]: found 'leave_one_uot'; must be leave_one_out, "),
        ("seeds: 0", "5: ablation.seeds: found 0; must be at least 1"),
        ("sweep: {target: [0.3]}", "5: ablation.sweep.target: found 'target'; must be a key of a stage"),
        ("sweep: {'stages[3].target': [0.3]}", "there is no stages[3]; the last is stages[1]"),
        ("sweep: {'stages[0].target': [0.3, 1.5]}", "[1]: found 1.5; must be above 0 and below 1"),
        ("sweep: {'stages[0].targt': [0.3]}", "unknown key, found 'targt'; did you mean 'target'?"),
        ("sweep: {'stages[0].target': []}", "found no value to try"),
        ("sweep: {'stages[0].gate': [always]}", "gate changes no net: there is nothing to sweep"),
        ("sweep: {'stages[1].mode': [auto, statik]}", "did you mean 'static'?"),
        ("runtimes: [onnx]", "ablation.runtimes[0]: found 'onnx'; must be one of "),
        ("max_hours: 0", "ablation.max_hours: found 0; must be above 0"),
    ],
)
def test_one_mistake_is_one_line(tmp_path: Path, line: str, said: str) -> None:
    found = problems(tmp_path, f"{STAGES}ablation: {{{line}}}\n")
    assert len(found) == 1
    assert said in found[0]


def test_mistakes_elsewhere_do_not_hide_it(tmp_path: Path) -> None:
    text = """stages:
  - {kind: prune, targt: 3}
  - {kind: decompose, retry: [0.95]}
gate: always
ablation: {sweep: {'stages[0].target': [0.3], 'stages[4].target': [0.3]}}
"""
    found = problems(tmp_path, text)
    assert [line.split(":")[0] for line in found] == ["3", "4", "6"]
    assert "the gate is always, which keeps the first try: no retry" in found[1]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("{kind: quantize, retry: [0.5]}", "stages[0].retry: quantize has no strength to weaken"),
        (
            "{kind: prune, retry: [0.4, 1.2]}",
            "stages[0].retry[1]: 1.2 as target: input should be less than 1",
        ),
        ("{kind: prune, target: 0.5, retry: [0.5, 0.2]}", "must go on from target 0.5 in one direction"),
        ("{kind: prune, target: 0.5, retry: [0.2, 0.3]}", "must go on from target 0.5 in one direction"),
        ("{kind: prune, retry: []}", "must have at least 1 of them"),
        ("{kind: prune, gate: always, retry: [0.4]}", "keeps the first try: no retry"),
    ],
)
def test_a_retry_that_cannot_work_is_refused(tmp_path: Path, stage: str, said: str) -> None:
    (found,) = problems(tmp_path, f"stages:\n  - {stage}\n")
    assert found.startswith("3: ")
    assert said in found


def test_retries_are_the_stage_at_other_strengths() -> None:
    stage = Prune(target=0.5, retry=(0.35, 0.2))
    assert stage.tries() == [stage, Prune(target=0.35), Prune(target=0.2)]
    assert Distill().tries() == [Distill()]


def test_in_python_too() -> None:
    with pytest.raises(ValueError, match="there is no stages"):
        Recipe(name="x", stages=(Prune(),), ablation={"sweep": {"stages[1].target": (0.3,)}})
    with pytest.raises(ValueError, match="no strength"):
        Distill(retry=(0.5,))


def test_every_strength_names_a_number_of_its_stage() -> None:
    from compress.plugins import BUILT_IN

    declared: list[type[Stage]] = [cls for cls in BUILT_IN.values() if cls.strength is not None]
    assert declared
    for cls in declared:
        assert isinstance(getattr(cls(), str(cls.strength)), int | float)
