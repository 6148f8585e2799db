"""Recipes: YAML and Python are one value, and every mistake is told at once."""

from __future__ import annotations

import json
import random
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from compress import plugins, yamlio
from compress.data.folder import FolderData
from compress.errors import InputError
from compress.gate import Within
from compress.measure.score import F1Time
from compress.models.zoo import TorchvisionModel, YamlModel
from compress.recipe import Recipe, schema
from compress.stages.base import Stage
from compress.stages.distill import Distill
from compress.stages.finetune import Finetune
from compress.stages.prune import Prune
from compress.stages.quantize import Quantize
from compress.train import TrainSpec


def problems(tmp_path: Path, text: str, *overrides: str, files: bool = True) -> list[str]:
    """The lines a recipe's text is refused with, the file's name shortened to ``r``."""
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Recipe.from_yaml(path, overrides, files=files)
    assert all("\n" not in line for line in caught.value.problems)
    return [line.replace(str(path), "r") for line in caught.value.problems]


def recipe(tmp_path: Path, text: str, *overrides: str, files: bool = False) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return Recipe.from_yaml(path, overrides, files=files)


# --- one value ---------------------------------------------------------------------------------


def test_a_name_is_enough() -> None:
    small = Recipe(name="x")
    assert small.data.kind == "digits"
    assert small.model == TorchvisionModel(name="mobilenet_v3_small")
    assert (small.stages, small.gate, small.control) == ((), "better", False)
    assert small.check() == []


def test_yaml_and_python_are_equal(tmp_path: Path) -> None:
    python = Recipe(
        name="x",
        data=FolderData(root=Path("a/b"), image_size=96, val_fraction=0.2),
        model=YamlModel(path="m.yaml"),
        train=TrainSpec(epochs=3),
        gate=Within(within=1),
        stages=[Prune(target=0.5), Distill(), Quantize(gate="always"), Finetune()],
    )
    text = """
stages:
  - {target: 5e-1, kind: prune}
  - kind: distill
  - {gate: always, kind: quantize}
  - {kind: finetune}
train: {epochs: 3.0}
model: {path: ./m.yaml, kind: yaml}
gate: {within: 1.0}
data: {val_fraction: 2e-1, kind: folder, image_size: 96, root: a//b}
name: x
"""
    yaml = recipe(tmp_path, text)
    assert yaml == python
    assert yaml.digest == python.digest
    assert len(python.digest) == 20
    assert yaml.to_yaml() == python.to_yaml()
    assert hash(yaml) == hash(python)


def test_different_recipes_have_different_digests() -> None:
    base = Recipe(name="x", stages=(Prune(target=0.5), Quantize()))
    changed = [
        Recipe(name="y", stages=base.stages),
        Recipe(name="x", seed=1, stages=base.stages),
        Recipe(name="x", stages=base.stages[:1]),
        Recipe(name="x", stages=(Prune(target=0.4), Quantize())),
        Recipe(name="x", stages=(Prune(target=0.5, gate="always"), Quantize())),
        Recipe(name="x", stages=base.stages, control=True),
    ]
    assert len({r.digest for r in [base, *changed]}) == 7


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe(name="x").seed = 3  # type: ignore[misc]


before = st.one_of(
    st.builds(Prune, target=st.floats(0.05, 0.95), gate=st.sampled_from([None, "better", "always"])),
    st.builds(Prune, target=st.sampled_from([0.1, 0.5]), label=st.none() | st.text(max_size=8)),
    st.just({"kind": "decompose"}),
)
after = st.one_of(
    st.builds(Distill, epochs=st.integers(1, 50)), st.builds(Finetune), st.just({"kind": "distill"})
)
recipes = st.builds(
    Recipe,
    name=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,9}\Z") | st.sampled_from(["1e-3", "no", "007", "1.5"]),
    seed=st.integers(0, 2**31 - 1),
    data=st.just({"kind": "digits"})
    | st.builds(FolderData, root=st.sampled_from(["a", "1", "no", "a b/ü", "~x", "../x"]).map(Path)),
    model=st.builds(YamlModel, path=st.sampled_from(["m.yaml", "x/0o7"]).map(Path))
    | st.just({"kind": "pretrained"}),
    train=st.builds(
        TrainSpec, epochs=st.integers(1, 99), lr=st.none() | st.floats(1e-9, 1.0), mixup=st.floats(0.0, 1.0)
    ),
    metric=st.builds(F1Time, f1_base=st.none() | st.floats(0.0, 1.0), slope=st.floats(1e-6, 1e6)),
    gate=st.sampled_from(["better", "always"]) | st.builds(Within, within=st.floats(0, 10)),
    stages=st.tuples(st.lists(before, max_size=3), st.booleans(), st.lists(after, max_size=2)).map(
        lambda parts: (*parts[0], *([Quantize()] if parts[1] else []), *parts[2])
    ),
    control=st.booleans(),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(recipes, st.randoms(use_true_random=False))
def test_round_trip_whatever_the_order_of_keys(tmp_path: Path, made: Recipe, rng: random.Random) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            rng.shuffle(items)
            return {key: shuffled(one) for key, one in items}
        return [shuffled(one) for one in value] if isinstance(value, list) else value

    for text in (made.to_yaml(), yamlio.dump(shuffled(made.canonical()))):
        back = recipe(tmp_path, text)
        assert back == made
        assert back.digest == made.digest


# --- every mistake at once ---------------------------------------------------------------------


def test_ten_mistakes_are_ten_lines(tmp_path: Path) -> None:
    text = """\
name: x
seed: -1
sede: 3
data: {kind: folder, root: /nowhere/at/all}
model: {kind: yaml, path: no.yaml}
train: {epochs: true, lr: fast}
gate: beter
stages:
  - {kind: prune, taget: 0.5}
  - {kind: quantise}
seed: 0
runtime: {kind: onnx, threads: 0}
"""
    assert problems(tmp_path, text) == [
        "r:3: sede: unknown key, found 'sede'; did you mean 'seed'?",
        f"r:4: data.root: {FolderData(root=Path('/nowhere/at/all')).check()[0]}",
        f"r:5: model.path: {YamlModel(path=Path('no.yaml')).check()[0]}",
        "r:6: train.epochs: found true; must be a whole number",
        "r:6: train.lr: found 'fast'; must be a number, above 0",
        "r:7: gate: found 'beter'; must be better or always or a mapping with the keys within, confidence; "
        "did you mean 'better'?",
        "r:9: stages[0].taget: unknown key, found 'taget'; did you mean 'target'?",
        "r:10: stages[1].kind: unknown kind, found 'quantise'; must be prune, decompose, distill, quantize, "
        "resize or finetune; did you mean 'quantize'?",
        "r:11: seed: duplicate key, first given in line 2",
        "r:12: runtime.kind: unknown kind, found 'onnx'; must be auto, torch, onnxruntime, openvino, ncnn or "
        "tensorrt; "
        "did you mean 'onnxruntime'?",
        "r:12: runtime.threads: found 0; must be at least 1",
    ]


@pytest.mark.parametrize(
    ("line", "others"),
    [
        ("data: {kind: folder, root: nowhere, image_sizee: 64}", ["data.image_sizee: unknown key"]),
        ("data: {kind: foldr, root: nowhere}", ["data.kind: unknown kind"]),
        ("data: {kind: folder, root: nowhere, group: {patern: x}}", ["data.group.patern: unknown key"]),
        ("model: {kind: yaml, path: nowhere, foo: 1}", ["model.foo: unknown key"]),
        ("model: {kind: yml, path: nowhere}", ["model.kind: unknown kind"]),
        ("metric: {kind: f1_time, baseline: nowhere, slope: -1}", ["metric.slope: found -1"]),
        (
            "stages: [{kind: distill, epoch: 2, student: {kind: yaml, path: nowhere, foo: 1}}]",
            ["epoch", "foo"],
        ),
    ],
)
def test_a_missing_file_is_said_beside_what_else_is_wrong_in_its_section(
    tmp_path: Path, line: str, others: list[str]
) -> None:
    """Neither mistake hides the other."""
    found = problems(tmp_path, f"name: x\n{line}\n")
    assert sum("nowhere" in problem and "unknown" not in problem for problem in found) == 1
    assert len(found) == 1 + len(others)
    assert all(any(other in problem for problem in found) for other in others)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stages: {kind: prune}", "stages: found {'kind': 'prune'}; must be a list"),
        ("stages: [prune]", "stages[0]: found 'prune'; must be a mapping, as {kind: prune}"),
        ("stages: [3]", "stages[0]: found 3; must be a mapping with a kind: prune, decompose, "),
        ("stages: [{target: 0.5}]", "stages[0].kind: required key is missing: prune, decompose, "),
        ("stages: [{kind: [prune]}]", "stages[0].kind: unknown kind, found ['prune']; must be prune, "),
        ("stages: [{kind: prune, target: 2}]", "stages[0].target: found 2; must be above 0 and below 1"),
        ("stages: [{kind: prune, target: .inf}]", "stages[0].target: found inf; must be"),
        ("stages: [{kind: prune, target: .nan}]", "stages[0].target: found nan; must be"),
        (
            "stages: [{kind: prune, gate: {witin: 1}}]",
            "stages[0].gate.witin: unknown key, found 'witin'; did you",
        ),
        (
            "stages: [{kind: prune, gate: {within: -1}}]",
            "stages[0].gate.within: found -1; must be at least 0",
        ),
        (
            "stages: [{kind: prune, gate: {}}]",
            "stages[0].gate: found {}; must be better or always or a mapping",
        ),
        ("gate: 3", "gate: found 3; must be better or always or a mapping with the keys within, confidence"),
        ("data: {root: x}", "data.kind: required key is missing: folder, digits or competition"),
        ("data: {kind: folder}", "data.root: required key is missing: Folder with train/"),
        ("data: {kind: folder, rot: x}", "data.rot: unknown key, found 'rot'; did you mean 'root'?"),
        ("data: digits", "data: found 'digits'; must be a mapping, as {kind: digits}"),
        ("data:", "data: found null; must be a mapping with a kind: folder, digits or competition"),
        ("model: {kind: yaml, path: 3}", "model.path: found 3; must be a path"),
        ("train: {batch_size: 2.5}", "train.batch_size: found 2.5; must be a whole number, at least 2"),
        (
            "train: {augment: {kind: randaugmnt}}",
            "train.augment.kind: unknown kind, found 'randaugmnt'; must be",
        ),
        ("train: [1]", "train: found [1]; must be a mapping with the keys epochs, "),
        ("lr: 0.1", "lr: unknown key, found 'lr'; did you mean 'train.lr'?"),
        ("zebra: 1", "zebra: unknown key, found 'zebra'; valid: name, seed, data, "),
        ("ablation: {seeds: 0}", "ablation.seeds: found 0; must be at least 1"),
        ("metric: {kind: f1_time, require: {f1: []}}", "metric.require.f1: found []; must be a number"),
        ("control: maybe", "control: found 'maybe'; must be true or false"),
        ("metric: {kind: f1_macs, require: {}}", "metric.require: needs at least one of"),
        ("seed: 3000000000", "seed: found 3000000000; must be at least 0 and below 2147483648"),
    ],
)
def test_one_mistake_is_one_line(tmp_path: Path, line: str, said: str) -> None:
    (found,) = problems(tmp_path, f"name: x\n{line}\n", files=False)
    assert found.startswith(f"r:2: {said}")


@pytest.mark.parametrize("name", ["my run", "../up", "", ".hidden", "a/b", "x" * 65])
def test_a_name_is_a_slug(tmp_path: Path, name: str) -> None:
    (line,) = problems(tmp_path, f"name: '{name}'\n")
    assert line.startswith("r:1: name: found ")
    assert "letters, digits" in line


def test_a_number_as_name_is_told_to_be_quoted(tmp_path: Path) -> None:
    assert problems(tmp_path, "name: 2024\n") == ["r:1: name: found 2024; must be text, in quotes"]
    assert problems(tmp_path, "seed: 1\n") == [
        "r:1: name: required key is missing: the run's folder: letters, digits, '.', '_' and '-'"
    ]


def test_keys_beside_a_misspelt_kind_are_checked_too(tmp_path: Path) -> None:
    found = problems(tmp_path, "name: x\nstages:\n- {kind: prun,\n   taget: 3,\n   target: 7}\n")
    assert [line.split(";")[0] for line in found] == [
        "r:3: stages[0].kind: unknown kind, found 'prun'",
        "r:4: stages[0].taget: unknown key, found 'taget'",
        "r:5: stages[0].target: found 7",
    ]


def test_only_distill_and_finetune_may_follow_quantize(tmp_path: Path) -> None:
    kinds = ["quantize", "distill", "prune", "finetune", "quantize"]
    text = "name: x\nseed: -1\nstages:\n" + "".join(f"- kind: {kind}\n" for kind in kinds)
    wrong = (
        "cannot stand after quantize (stages[0]); there only distill and finetune can, as quantization-aware"
    )
    found = problems(tmp_path, text)
    assert [line[: line.index(" training")] for line in found[1:]] == [
        f"r:6: stages[2]: prune {wrong}",
        f"r:8: stages[4]: quantize {wrong}",
    ]
    assert found[0].startswith("r:2: seed")
    with pytest.raises(ValidationError, match="prune cannot stand after quantize"):
        Recipe(name="x", stages=(Quantize(), Prune()))
    assert len(Recipe(name="x", stages=(Quantize(), Distill(), Finetune())).stages) == 3
    student = "{kind: distill, student: {kind: pretrained}}"
    (line,) = problems(tmp_path, f"name: x\nstages: [{{kind: quantize}}, {student}]\n", files=False)
    assert line.startswith(
        "r:2: stages[1]: distill with a fresh student cannot stand after quantize (stages[0])"
    )
    assert recipe(tmp_path, f"name: x\nstages: [{student}, {{kind: quantize}}]\n").stages


def test_what_a_section_says_of_an_overridden_value_is_told_of_the_override(tmp_path: Path) -> None:
    text = "name: x\nmodel: {kind: torchvision, name: resnet18}\n"
    (line,) = problems(tmp_path, text, "model.name=resnet19", "train.epochs=2")
    assert line.startswith("--set model.name=resnet19: model: torchvision has no classifier 'resnet19'")
    (line,) = problems(tmp_path, text.replace("18", "19"), "model.weights=null")
    assert line.startswith("r:2: model: ")


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("train.mix_prob=0.5", "r:2 with --set train.mix_prob=0.5: train: mix_prob "),
        ("name.x=3", "r:1 with --set name.x=3: name: found {'x': 3}; must be text"),
    ],
)
def test_what_a_section_says_because_of_an_override_names_both(
    tmp_path: Path, override: str, start: str
) -> None:
    text = "name: x\ntrain: {epochs: 3}\n"
    (line,) = problems(tmp_path, text, override, "seed=1")
    assert line.startswith(start)
    (line,) = problems(tmp_path, text, "train.mix_prob=0.5", "train.lr=0.1")
    assert line.startswith("r:2 with --set train.mix_prob=0.5 and --set train.lr=0.1: train: mix_prob ")
    (line,) = problems(tmp_path, text.replace("3}", "3, mix_prob: 0.5}"), "train.epochs=2")
    assert line.startswith("r:2: train: mix_prob ")  # the file says so already


def test_files_are_looked_for_in_every_part(tmp_path: Path) -> None:
    text = """\
name: x
sed: 1
data: {kind: folder, root: nope, image_size: none}
model: {kind: checkpoint, path: no.pt}
stages:
- {kind: distill, epochs: -3, student: {kind: yaml, path: lost.yaml}}
- {kind: distill, student: {kind: checkpoint, path: gone.pt}}
"""
    found = problems(tmp_path, text)
    starts = ["r:2: sed:", "r:3: data.image_size:", "r:3: data.root:", "r:4: model.path:"]
    starts += ["r:6: stages[0].epochs:", "r:6: stages[0].student.path:", "r:7: stages[1].student.path:"]
    assert len(found) == len(starts)
    assert all(line.startswith(start) for line, start in zip(found, starts, strict=True)), found
    assert "gone.pt" in found[-1]
    assert len(problems(tmp_path, text, files=False)) == 3
    made = Recipe(name="x", model={"kind": "checkpoint", "path": "no.pt"}, stages=(Prune(),))
    (line,) = made.check()
    assert line.startswith("model.path: ")
    assert made.check(skip=("model",)) == []


# --- overrides ---------------------------------------------------------------------------------


def test_overrides_change_add_and_replace(tmp_path: Path) -> None:
    text = "name: x\nstages: [{kind: prune, target: 0.5}, {kind: quantize}]\n"
    made = recipe(
        tmp_path,
        text,
        "stages[0].target=3e-1",
        "stages.1.label=int 8=small",
        "train.epochs=5",
        "train.augment={kind: none}",
        "runtime.threads=2",
        "data={kind: folder, root: ../x}",
        "data.image_size=64",
        "gate.within=0.1",
    )
    assert made == Recipe(
        name="x",
        data=FolderData(root=Path("../x"), image_size=64),
        train={"epochs": 5, "augment": {"kind": "none"}},
        runtime={"kind": "auto", "threads": 2},
        gate={"within": 0.1},
        stages=(Prune(target=0.3), Quantize(label="int 8=small")),
    )


def test_an_override_changes_one_of_two_aliases(tmp_path: Path) -> None:
    text = "name: x\nstages: [&p {kind: prune, target: 0.5}, *p]\n"
    made = recipe(tmp_path, text, "stages[1].target=0.2")
    assert [stage.model_dump()["target"] for stage in made.stages] == [0.5, 0.2]


def test_override_mistakes_name_the_override(tmp_path: Path) -> None:
    text = "name: x\nseed: -2\nmodel: {kind: yaml, path: no.yaml}\nstages:\n- kind: prune\n"
    found = problems(
        tmp_path,
        text,
        "train.epocs=3",
        "stages[0].target=2",
        "stages[4].target=0.2",
        "stages.target=0.2",
        "data.kind=folder",
        "model.path=lost.yaml",
        "gate=[1",
        "epochs",
        ".a=3",
        "[0]=3",
        "seed[0]=3",
    )
    starts = [
        "--set stages[4].target=0.2: there is no stages[4]; the last is stages[0]",
        "--set stages.target=0.2: stages is a list: stages[0].target is its first item's",
        "--set gate=[1: value:1: not valid YAML: ",
        "--set epochs: must be key.path=value",
        "--set .a=3: must be key.path=value",
        "--set [0]=3: must be key.path=value",
        "--set seed[0]=3: seed is not a list",
        "--set data.kind=folder: data.root: required key is missing",
        "--set model.path=lost.yaml: model.path: ",
        "--set stages[0].target=2: stages[0].target: found 2; must be above 0 and below 1",
        "--set train.epocs=3: train.epocs: unknown key, found 'epocs'; did you mean 'epochs'?",
        "r:2: seed: found -2",
    ]
    assert len(found) == len(starts), found
    assert all(line.startswith(start) for line, start in zip(found, starts, strict=True)), found


def test_an_item_of_a_list_that_is_not_there_is_told_how_to_give_one(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "name: x\n", "stages[0].target=0.3")
    start = "--set stages[0].target=0.3: there is no stages[0], as stages is not given; a list is given whole"
    assert line.startswith(start)
    whole = re.findall(r"--set '(.*)'", line)
    assert recipe(tmp_path, "name: x\n", *whole, "stages[0].target=0.3").stages == (Prune(target=0.3),)


# --- stages of other packages ------------------------------------------------------------------


class Blur(Stage):
    """A stage such as another package would bring."""

    kind: Literal["blur"] = "blur"
    sigma: float = 1.0

    def plan(self, net: Any, ctx: Any) -> Any:
        raise NotImplementedError

    def apply(self, net: Any, plan: Any, ctx: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        EntryPoint("blur", f"{__name__}:Blur", plugins.GROUP),
        EntryPoint("lost", "no_such_package.stages:Lost", plugins.GROUP),
        EntryPoint("odd", "pathlib:Path", plugins.GROUP),
        EntryPoint("other", f"{__name__}:Blur", plugins.GROUP),
        EntryPoint("prune", f"{__name__}:Blur", plugins.GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    plugins.found.cache_clear()
    yield
    plugins.found.cache_clear()


@pytest.mark.usefixtures("third_party")
def test_a_stage_of_another_package(tmp_path: Path) -> None:
    made = recipe(tmp_path, "name: x\nstages: [{kind: blur, sigma: 2}, {kind: prune}]\n")
    assert made == Recipe(name="x", stages=(Blur(sigma=2.0), Prune()))
    assert isinstance(made.stages[1], Prune)
    assert yamlio.parse(made.to_yaml()).data["stages"][0]["sigma"] == 2.0
    assert recipe(tmp_path, made.to_yaml()).digest == made.digest
    found = problems(
        tmp_path, "name: x\nstages: [{kind: blur, sgma: 2}, {kind: blu}, {kind: quantize}, {kind: blur}]"
    )
    assert [line.split("; ")[-1] for line in found] == [
        "did you mean 'sigma'?",
        "did you mean 'blur'?",
        "there only distill and finetune can, as quantization-aware training",
    ]


@pytest.mark.usefixtures("third_party")
def test_a_broken_stage_of_another_package_is_one_line(tmp_path: Path) -> None:
    found = problems(tmp_path, "name: x\nstages: [{kind: lost}, {kind: odd}, {kind: other}]\n")
    assert found == [
        "r:2: stages[0]: stage 'lost' (no_such_package.stages:Lost) cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_package'",
        "r:2: stages[1]: stage 'odd' (pathlib:Path) is not a subclass of compress.stages.base.Stage",
        f"r:2: stages[2]: stage 'other' ({__name__}:Blur) has the kind 'blur', not 'other'",
    ]


# --- the schema --------------------------------------------------------------------------------


def test_schema_names_every_kind_and_key() -> None:
    made = schema()
    assert json.loads(json.dumps(made)) == made
    definitions = made["$defs"]
    kinds = {
        name: d["properties"]["kind"]["const"] for name, d in definitions.items() if "kind" in d["properties"]
    }
    assert {"prune", "decompose", "distill", "quantize", "finetune", "folder", "digits", "auto"} <= set(
        kinds.values()
    )
    members = made["properties"]["stages"]["items"]["anyOf"]
    assert {m["$ref"].rsplit("/", 1)[1] for m in members} == {
        type_.__name__ for type_ in plugins.BUILT_IN.values()
    }
    assert definitions["Prune"]["additionalProperties"] is False
    assert set(definitions["Prune"]["properties"]) == set(Prune.model_fields)
    assert made["required"] == ["name"]
    unexplained = [
        f"{name}.{key}"
        for name, one in {"Recipe": made, **definitions}.items()
        for key, value in one.get("properties", {}).items()
        if key != "kind" and "description" not in value
    ]
    assert unexplained == []
