"""The chain on real digits: scored steps, gates, resume, and YAML and Python as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Literal

import numpy as np
import pytest
import torch
from tinynet import digits, tiny_net
from torch import nn

from compress.chain import run
from compress.data.digits import DigitsData
from compress.errors import CompressError, InputError, NoEffectError
from compress.gate import Within
from compress.inputs import content_of
from compress.measure.score import F1Macs, F1Time
from compress.models.checkpoint import save_net
from compress.models.zoo import CheckpointModel, SearchModel, YamlModel
from compress.net import Net, Quant
from compress.ops.fold import fold_batchnorm
from compress.predict import load
from compress.recipe import Recipe
from compress.report.run_folder import record
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.runtimes.torch_runtime import TorchRuntime
from compress.stages.base import Context, Plan, Stage
from compress.stages.distill import Distill
from compress.stages.finetune import Finetune
from compress.stages.prune import Prune
from compress.stages.quantize import Quantize
from compress.stages.resize import Resize
from compress.step import Step
from compress.store import Store
from compress.train import TrainSpec

pytestmark = pytest.mark.usefixtures("in_a_hurry")

MODEL = """
input_channel: 3
depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [1, Conv, [32, 3, 2]]
  - [1, Conv, [64, 3, 2]]
  - [1, InvertedResidualv3, [3, 2, 64, 1, 1, 1]]
  - [1, Conv, [96, 1, 1]]
  - [1, GlobalAvgPool, []]
  - [1, FixedConv, [10, 1, 1, null, 1, null]]
"""


class Spoil(Stage):
    """Forgets most of what was learned."""

    kind: Literal["spoil"] = "spoil"
    scale: float = 1.0

    def plan(self, net: Net, ctx: Context) -> Plan:
        return Plan(notes=("spoils",))

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        with torch.no_grad():
            for parameter in net.module.parameters():
                parameter.mul_(self.scale * torch.randn(parameter.shape))
        return net


class Idle(Stage):
    """Changes nothing, or says beforehand that it will not."""

    kind: Literal["idle"] = "idle"
    honest: bool = False

    def plan(self, net: Net, ctx: Context) -> Plan:
        return Plan(skip="nothing to do here") if self.honest else Plan()

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        return net


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for tests that may find the trained baseline there."""
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    path = tmp_path_factory.mktemp("model") / "tiny.yaml"
    path.write_text(MODEL)
    return Recipe(
        name="tiny",
        data=DigitsData(image_size=16),
        model=YamlModel(path=path),
        train=TrainSpec(epochs=3),
        runtime=OnnxRuntime(),
    )


def _with(recipe: Recipe, *stages: Stage, **more: Any) -> Recipe:
    return Recipe.model_validate({**dict(recipe), "stages": stages, **more})


def _steps(recipe: Recipe, store: Path, **given: Any) -> list[Step]:
    return list(run(recipe, store=Store(store), log=lambda line: None, **given))


def _figures(step: Step) -> dict[str, Any]:
    return {k: v for k, v in step.to_dict().items() if k not in ("seconds", "cached")}


def test_no_stages_trains_and_scores(recipe: Recipe, shared: Path) -> None:
    (step,) = _steps(recipe, shared)
    assert step.score is not None
    assert step.score.points_val == pytest.approx(1.0)
    assert step.score.points_test == pytest.approx(1.0)
    assert step.score.latency.ratio == 1.0
    assert step.score.f1_test > 0.6
    assert step.score.agreement == 1.0


def test_again_everything_comes_from_the_store_with_the_same_numbers(recipe: Recipe, tmp_path: Path) -> None:
    chain = _with(
        recipe, Prune(target=0.3, epochs=1, steps=1, importance="l1"), Finetune(epochs=1), gate="always"
    )
    first = _steps(chain, tmp_path / "s")
    again = _steps(chain, tmp_path / "s")
    assert [s.cached for s in first] == [False] * 3
    assert [s.cached for s in again] == [True] * 3
    assert [_figures(s) for s in again] == [_figures(s) for s in first]
    pruned = first[1].score
    base = first[0].score
    assert pruned is not None
    assert base is not None
    assert pruned.macs < base.macs


def test_yaml_and_python_hit_the_same_entries(recipe: Recipe, shared: Path, tmp_path: Path) -> None:
    chain = _with(recipe, Finetune(epochs=1))
    file = tmp_path / "recipe.yaml"
    file.write_text(chain.to_yaml())
    assert Recipe.from_yaml(file).digest == chain.digest
    keys = [s.key for s in _steps(chain, shared)]
    again = _steps(Recipe.from_yaml(file), shared)
    assert [s.key for s in again] == keys
    assert all(s.cached for s in again)


def test_a_harmful_stage_is_dropped_and_the_chain_goes_on_from_its_parent(
    recipe: Recipe, shared: Path
) -> None:
    _, spoiled, tuned = _steps(_with(recipe, Spoil(), Finetune(epochs=1, gate="always")), shared)
    assert not spoiled.kept
    assert spoiled.score is not None
    assert spoiled.score.f1_val < 0.5
    assert "not better" in spoiled.why
    assert tuned.kept
    assert tuned.score is not None
    assert tuned.score.f1_val > 0.5  # it started from the baseline, not from the ruin


def test_a_stage_that_changes_nothing_is_an_error_or_a_named_skip(recipe: Recipe, shared: Path) -> None:
    with pytest.raises(NoEffectError, match="idle ran and changed nothing"):
        _steps(_with(recipe, Idle()), shared)
    _, skipped = _steps(_with(recipe, Idle(honest=True)), shared)
    assert skipped.score is None
    assert not skipped.kept
    assert skipped.why == "skipped: nothing to do here"


def test_a_failure_is_not_cached(recipe: Recipe, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = _with(recipe, Spoil(scale=2.0))

    def broken(self: Spoil, net: Net, plan: Plan, ctx: Context) -> Net:
        raise CompressError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(Spoil, "apply", broken)
        with pytest.raises(CompressError, match="out of luck"):
            _steps(chain, shared)
    assert _steps(chain, shared)[1].score is not None


def test_quantize_ships_int8_and_says_what_it_cost(recipe: Recipe, shared: Path) -> None:
    base, int8 = _steps(_with(recipe, Quantize(fallback=False, gate="always")), shared)
    assert int8.score is not None
    assert base.score is not None
    assert int8.score.bytes < 0.6 * base.score.bytes
    assert int8.score.max_logit_difference > 1e-3  # really another arithmetic
    assert int8.score.agreement > 0.9


def test_the_control_trains_for_the_epochs_of_the_whole_chain(recipe: Recipe, shared: Path) -> None:
    steps = _steps(_with(recipe, Finetune(epochs=2), control=True), shared)
    assert [s.kind for s in steps] == ["baseline", "finetune", "control"]
    assert steps[-1].epochs == 5
    assert not steps[-1].kept


@pytest.mark.parametrize("moment", ["during the baseline", "during the stage", "while it measures"])
def test_killed_the_same_command_ends_with_the_same_numbers(
    recipe: Recipe, shared: Path, tmp_path: Path, moment: str
) -> None:
    chain = _with(recipe, Finetune(epochs=3, gate="always"), train=TrainSpec(epochs=4))
    whole = _steps(chain, shared)
    store = tmp_path / "killed"
    file = tmp_path / "recipe.yaml"
    file.write_text(chain.to_yaml())
    code = """
import sys
from compress.chain import run
from compress.predict import load
from compress.recipe import Recipe
from compress.report.run_folder import read_report, record
from compress.store import Store
for step in run(Recipe.from_yaml(sys.argv[1]), store=Store(sys.argv[2])):
    print(step.label, flush=True)
"""
    base, tuned = whole[0].key, whole[1].key
    sign = {
        "during the baseline": f"work/{base}/checkpoint.pt",
        "during the stage": f"work/{tuned}/*/checkpoint.pt",
        "while it measures": f"nets/{base}.pt",
    }[moment]
    child = subprocess.Popen([sys.executable, "-c", code, str(file), str(store)])
    while not list(store.glob(sign)):
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    _more_seconds(Store(store), base if moment == "while it measures" else None, store.glob(sign))
    lines: list[str] = []
    after = list(run(chain, store=Store(store), log=lines.append))
    assert [s.key for s in after] == [s.key for s in whole]
    for a, b in zip(after, whole, strict=True):
        assert a.score is not None
        assert b.score is not None
        assert (a.score.f1_val, a.score.predictions_test) == (b.score.f1_val, b.score.predictions_test)
    if moment != "while it measures":
        assert any("going on after epoch" in line for line in lines), lines
    number = 1 if moment == "during the stage" else 0
    assert after[number].seconds > 500 > after[1 - number].seconds
    again = list(run(chain, store=Store(store), log=lines.append))
    assert [s.seconds for s in again] == [s.seconds for s in after]


def _more_seconds(store: Store, trained: str | None, checkpoints: Iterable[Path]) -> None:
    """As if what was done before the kill had taken 500 s: a training, or the part before a checkpoint."""
    if trained is not None:
        store.put_value("spent", trained, 500.0)
    else:
        for checkpoint in checkpoints:
            os.utime(checkpoint, (time.time() + 500,) * 2)


def test_another_metric_and_a_gate_of_its_own(recipe: Recipe, shared: Path) -> None:
    metric = {"kind": "f1_macs"}
    base, pruned = _steps(
        _with(
            recipe,
            Prune(target=0.3, epochs=1, steps=1, importance="l1", gate=Within(within=5.0)),
            metric=metric,
        ),
        shared,
    )
    assert base.score is not None
    assert pruned.score is not None
    assert base.score.points_test == pytest.approx(
        F1Macs().points(f1=base.score.f1_test, macs=base.score.macs)
    )
    assert pruned.kept
    assert "within 5 points" in pruned.why


def test_stated_bases_are_used_as_they_are(recipe: Recipe, shared: Path) -> None:
    metric = {"kind": "f1_time", "f1_base": 0.5, "time_base": 1.0}
    (base,) = _steps(_with(recipe, metric=metric), shared)
    assert base.score is not None
    want = F1Time(f1_base=0.5, time_base=1.0).points(f1=base.score.f1_val, time=base.score.latency.median)
    assert base.score.points_val == pytest.approx(want)


def test_after_quantize_a_finetune_is_trained_as_int8_and_ships_int8(recipe: Recipe, shared: Path) -> None:
    stages = (Quantize(fallback=False, gate="always"), Finetune(epochs=1, gate="always"))
    _, int8, tuned = _steps(_with(recipe, *stages), shared)
    assert int8.score is not None
    assert tuned.score is not None
    assert tuned.score.bytes == pytest.approx(int8.score.bytes, rel=0.02)
    assert tuned.score.predictions_test != int8.score.predictions_test


def test_an_int8_model_takes_only_what_trains_as_int8(recipe: Recipe, tmp_path: Path) -> None:
    net = tiny_net()
    for norm in (m for m in net.module.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.bias, std=0.1)  # an export leaves out biases of 0, which training would move
    net.module, net.quant = fold_batchnorm(net.module, net.example()), Quant(digits(0, 32).images)
    save_net(net, tmp_path / "net.pt")
    int8 = CheckpointModel(path=tmp_path)
    with pytest.raises(InputError) as error:
        _steps(_with(recipe, Resize(size=12), Finetune(), model=int8, control=True), tmp_path / "wrong")
    (line,) = error.value.problems
    train, control, resize, right = line.removeprefix("model: is int8: ").split("; ", 3)
    assert train == "train.epochs 3 would train it as float: set train: {epochs: 0}"
    assert control == "control would train it as float: leave it out"
    assert resize == "stages[0]: resize cannot stand after an int8 model"
    assert right.startswith("there only distill and finetune can, as quantization-aware training; or give")
    with pytest.raises(InputError, match=r"its student .* is int8; give the float net"):
        _steps(_with(recipe, Distill(student=int8)), tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()

    stages = (Quantize(), Finetune(epochs=1, gate="always"))
    base, skipped, tuned = _steps(
        _with(recipe, *stages, model=int8, train=TrainSpec(epochs=0)), tmp_path / "right"
    )
    assert skipped.why == "skipped: the net is int8 already"
    assert base.score is not None
    assert tuned.score is not None
    assert tuned.score.bytes == pytest.approx(base.score.bytes, rel=0.02)


def test_a_file_that_a_stage_names_counts_by_its_content(
    recipe: Recipe, shared: Path, tmp_path: Path
) -> None:
    student = tmp_path / "student.yaml"
    student.write_text(MODEL)
    chain = _with(recipe, Distill(epochs=1, student=YamlModel(path=student), gate="always"))
    first = _steps(chain, shared)[1]
    student.write_text(MODEL.replace("[1, Conv, [96, 1, 1]]", "[1, Conv, [48, 1, 1]]"))
    second = _steps(chain, shared)[1]
    assert first.key != second.key
    assert first.score is not None
    assert second.score is not None
    assert second.score.params < first.score.params


def test_a_folder_or_study_that_a_stage_names_counts_by_the_content_of_its_net(tmp_path: Path) -> None:
    for name, student in (
        ("net.pt", CheckpointModel(path=tmp_path)),
        ("best-knee.yaml", SearchModel(run=tmp_path, best="knee")),
    ):
        found = []
        for content in ("one", "two"):
            (tmp_path / name).write_text(content)
            found.append(content_of(Distill(student=student)))
        assert found[0] != found[1]
        assert [Path(file).name for file in found[0]] == [name]


def test_a_label_is_a_name_and_no_other_stage(recipe: Recipe, shared: Path) -> None:
    one = _steps(_with(recipe, Finetune(epochs=1, gate="always")), shared)[1]
    two = _steps(_with(recipe, Finetune(epochs=1, label="a while longer", gate="better")), shared)[1]
    assert two.key == one.key
    assert two.cached
    assert two.label == "a while longer"


def test_steps_of_one_name_are_numbered(recipe: Recipe, shared: Path) -> None:
    stages = [Idle(honest=True, label=label) for label in (None, "baseline", None, "idle-2")]
    labels = [step.label for step in _steps(_with(recipe, *stages), shared)]
    assert labels == ["baseline", "idle", "baseline-2", "idle-3", "idle-2"]


def test_a_run_that_waits_for_another_says_so(recipe: Recipe, shared: Path) -> None:
    (step,) = _steps(recipe, shared)
    lines, said = list[str](), Event()

    def log(line: str) -> None:
        if "waiting" in line:
            lines.append(line)
            said.set()

    store = Store(shared)
    with ThreadPoolExecutor(1) as pool:
        with store.lock(step.key):
            waiting = pool.submit(lambda: list(run(recipe, store=Store(shared), log=log)))
            assert said.wait(60)
        assert waiting.result(60)[0].cached
    assert lines == ["another process is computing what this one needs: waiting for it"]


def test_record_leaves_the_run_folder_from_python(
    recipe: Recipe, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(shared)
    labels = [step.label for step in record(recipe, run(recipe, store=store, log=lambda line: None), store)]
    assert labels == ["baseline"]
    (answer,) = load(tmp_path / "runs/tiny").predict(np.zeros((1, 16, 16, 3), np.uint8))
    assert answer[0] in {str(digit) for digit in range(10)}
    assert (tmp_path / "runs/tiny/report.html").is_file()


def test_what_is_trained_for_one_runtime_is_not_trained_again_for_another(
    recipe: Recipe, tmp_path: Path
) -> None:
    chain = _with(recipe, Prune(target=0.3, epochs=1), Finetune(epochs=1), gate="always")
    first = _steps(chain, tmp_path)
    other = _steps(chain.model_copy(update={"runtime": TorchRuntime()}), tmp_path)
    assert [step.key for step in other] == [step.key for step in first]
    assert all(step.cached for step in other)
    assert [step.artifact for step in other] != [step.artifact for step in first]
