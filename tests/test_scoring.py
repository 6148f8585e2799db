"""What is scored is what ships: pixels, sizes, the time that counts and what it is compared with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score
from torch import nn

from compress.__main__ import main
from compress.chain import run
from compress.data.folder import FolderData
from compress.errors import InputError
from compress.evaluate import evaluate
from compress.exporting import export_run
from compress.measure.score import F1Macs, F1Time
from compress.models.zoo import YamlModel
from compress.net import Net, Preprocess
from compress.predict import load
from compress.recipe import Recipe
from compress.report.run_folder import read_report, record
from compress.runtimes.deploy import export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.stages.quantize import Quantize
from compress.stages.resize import Resize
from compress.step import Score, Step
from compress.store import Store
from compress.train import TrainSpec

pytestmark = pytest.mark.usefixtures("in_a_hurry")

LABELS = ("blue", "green", "red")
MODEL = """
input_channel: 3
depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [1, Conv, [16, 3, 2]]
  - [1, Conv, [32, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, FixedConv, [3, 1, 1, null, 1, null]]
"""


def write(root: Path, counts: dict[str, int], make: Any) -> None:
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for target, label in enumerate(LABELS):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(make(rng, target)).save(folder / f"{i:03d}.jpg", quality=90)


def coloured(rng: np.random.Generator, target: int) -> np.ndarray:
    """Noisy patches with more of one colour; some look like another's."""
    colour = rng.normal(105, 22, 3)
    colour[2 - target] += 35
    return np.clip(rng.normal(colour, 25, (64, 88, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A working directory with photos and a model, and a store for all tests here."""
    folder = tmp_path_factory.mktemp("scoring")
    write(folder / "photos", {"train": 30, "val": 20, "test": 20}, coloured)
    (folder / "model.yaml").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def recipe(name: str, **more: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": name,
            "data": FolderData(root=Path("photos"), image_size=24),
            "model": YamlModel(path=Path("model.yaml")),
            "train": TrainSpec(epochs=4, batch_size=16, augment={"kind": "none"}),
            "runtime": OnnxRuntime(),
            **more,
        }
    )


def steps(value: Recipe, **given: Any) -> list[Step]:
    return list(run(value, store=Store("store"), log=lambda line: None, **given))


def recorded(value: Recipe) -> list[Step]:
    """The same, and the run's folder; it times the final model in every runtime, so it takes longer."""
    store = Store("store")
    return list(record(value, run(value, store=store, log=lambda line: None), store))


def score_of(step: Step) -> Score:
    assert step.score is not None
    return step.score


@pytest.fixture(scope="module")
def chain(work: Path) -> list[Step]:
    """A baseline at 24 px, the same at 16 px, then as int8."""
    stages = (Resize(size=16, epochs=1), Quantize(fallback=False, samples=16))
    return recorded(recipe("chain", stages=stages, gate="always"))


def shipped(artifact: str | Path) -> list[int]:
    """Labels of the test photos, given to a loaded artifact as files."""
    files = sorted(Path("photos/test").glob("*/*.jpg"))
    return [LABELS.index(label) for label, _ in load(artifact).predict(files)]


def points(f1: float, base_f1: float, ratio: float) -> float:
    return 0.5 * ratio + 1 / (1 + math.exp(-20 * (base_f1 - f1)))


def test_every_step_ships_the_labels_it_was_scored_by(chain: list[Step]) -> None:
    sizes = []
    for step in chain:
        score = score_of(step)
        assert step.artifact is not None
        model = load(step.artifact)
        sizes.append(model.size)
        assert score.decode == model.how == "fast"
        assert list(score.predictions_test) == shipped(step.artifact)
        targets = np.repeat(np.arange(3), 20)
        assert score.f1_test == pytest.approx(f1_score(targets, score.predictions_test, average="macro"))
        confusion = np.zeros((3, 3), int)
        np.add.at(confusion, (targets, score.predictions_test), 1)
        assert np.array_equal(score.confusion_test, confusion)
        assert 0 <= score.ece_test <= 1
    assert sizes == [24, 16, 16]
    assert [step.kept for step in chain] == [True] * 3
    assert score_of(chain[1]).macs < 0.5 * score_of(chain[0]).macs


def test_why_files_are_decoded_fast_is_said_with_figures(chain: list[Step]) -> None:
    note = score_of(chain[0]).decode_note
    assert note.startswith("fast decoding gives ")
    assert note.endswith(": used")
    assert "of 60 val images the same label, F1 " in note
    assert note in chain[0].notes
    assert note in Path("runs/chain/report.md").read_text()


def test_evaluate_and_export_use_the_pixels_that_were_scored(chain: list[Step]) -> None:
    got = evaluate("runs/chain", "photos/test")
    assert got["final"]["f1"] == pytest.approx(score_of(chain[2]).f1_test)
    assert got["baseline"]["f1"] == pytest.approx(score_of(chain[0]).f1_test)
    assert got["absent"] == []
    for name in ("baseline", "final"):
        assert got[name]["end_to_end_ms"] > got[name]["latency_ms"]
    low, high = got["final"]["end_to_end_ratio_interval"]
    assert low <= got["final"]["end_to_end_ratio"] <= high
    assert load(export_run("runs/chain", "onnx", "exported")).how == "fast"


def test_the_report_has_what_pages_and_comparisons_need(chain: list[Step]) -> None:
    final = read_report("runs/chain")["final"]
    score = score_of(chain[2])
    assert final["predictions_val"] == list(score.predictions_val)
    assert final["predictions_test"] == list(score.predictions_test)
    assert final["confusion_val"] == [list(row) for row in score.confusion_val]
    assert (final["ece_val"], final["ece_test"]) == (score.ece_val, score.ece_test)
    assert final["decode"] == "fast"


def test_by_default_the_models_own_time_counts(chain: list[Step]) -> None:
    base, resized = score_of(chain[0]), score_of(chain[1])
    assert resized.base == base.base
    assert base.base.time_ms == base.latency.median
    assert (resized.time.median, resized.time.low) == (
        resized.latency.ratio,
        resized.latency.ratio_interval[0],
    )
    assert resized.points_test == pytest.approx(points(resized.f1_test, base.f1_test, resized.time.median))
    low, high = resized.points_test_interval
    assert low < resized.points_test < high


def test_end_to_end_time_counts_in_score_gate_and_require(work: Path) -> None:
    metric = F1Time(time="end_to_end", require={"time_ms": 1e-6})
    base, resized = recorded(
        recipe("whole", metric=metric, stages=(Resize(size=16, epochs=1),), gate="always")
    )
    a, b = score_of(base), score_of(resized)
    assert b.base.time_ms == a.end_to_end_ms > a.latency.median
    assert b.time == b.end_to_end_ratio
    assert b.time.median != b.latency.ratio
    assert b.points_test == pytest.approx(points(b.f1_test, a.f1_test, b.time.median))
    assert f"time x{b.time.low:.3f} to x{b.time.high:.3f} of its parent's" in resized.why
    (line,) = read_report("runs/whole")["require"]
    assert f"{b.end_to_end_ms:.3f} ms" in line["line"]
    got = evaluate("runs/whole", "photos/test")
    want = points(got["final"]["f1"], got["baseline"]["f1"], got["final"]["end_to_end_ratio"])
    assert got["score"] == pytest.approx(want)


def test_decode_reference_never_ships_fast_and_fast_trains_on_it(work: Path) -> None:
    for how in ("reference", "fast", "reference-pad", "fast-pad"):
        decode, _, pad = how.partition("-")
        data = FolderData(root=Path("photos"), image_size=24, decode=decode, fit=pad or "squeeze")
        (step,) = steps(recipe(f"decode-{how}", data=data))
        assert step.artifact is not None
        assert (score_of(step).decode, score_of(step).decode_note) == (how, "")
        assert load(step.artifact).how == how
        assert list(score_of(step).predictions_test) == shipped(step.artifact)


class Rough(nn.Module):
    """Tells how noisy an image is: what a sharper or softer resize changes."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grain = (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3))
        return torch.stack([self.at - grain, grain - self.at, torch.full_like(grain, -9.0)], 1)


def test_what_trained_on_padded_photos_decodes_padded_ones_fast(work: Path) -> None:
    data = FolderData(root=Path("photos"), image_size=24, fit="pad")
    (step,) = steps(recipe("padded", data=data))
    assert step.artifact is not None
    assert "used" in score_of(step).decode_note
    assert load(step.artifact).how == (
        "fast-pad" if score_of(step).decode_note.endswith(": used") else "reference-pad"
    )
    assert list(score_of(step).predictions_test) == shipped(step.artifact)


def test_where_the_labels_differ_the_fast_path_is_not_used(work: Path) -> None:
    def noise(rng: np.random.Generator, target: int) -> np.ndarray:
        return np.clip(rng.normal(128, 40, (64, 64, 3)), 0, 255).astype(np.uint8)

    write(Path("noise"), {"train": 8, "val": 10, "test": 4}, noise)
    data = FolderData(root=Path("noise"), image_size=16)
    pixels = torch.from_numpy(data.load(0, lambda line: None).val.images).permute(0, 3, 1, 2)
    plain = Preprocess(16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    x = plain.normalise(pixels)
    middle = (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3)).median().item()
    value = recipe("noise", data=data, train=TrainSpec(epochs=0))
    (step,) = steps(value, model=Net(Rough(middle).eval(), plain, LABELS))
    assert step.artifact is not None
    assert score_of(step).decode_note.endswith(": not used")
    assert score_of(step).decode == load(step.artifact).how == "reference"
    assert score_of(step).decode_note in step.notes


def test_images_without_files_are_scored_as_they_are(work: Path) -> None:
    splits = FolderData(root=Path("photos"), image_size=24).load(0, lambda line: None)
    parts = tuple((d.images, d.targets) for d in (splits.train, splits.val, splits.test))
    value = recipe("arrays", stages=(Resize(size=16, epochs=1),), gate="always")
    base, resized = steps(value, data=parts)
    for step, size in ((base, 24), (resized, 16)):
        assert (score_of(step).decode, score_of(step).decode_note) == ("reference", "")
        assert step.artifact is not None
        assert load(step.artifact).size == size


# Another model as the base -----------------------------------------------------------------------


class Guess(nn.Module):
    """By the mean of each channel, with its labels in another order than the data's."""

    def __init__(self) -> None:
        super().__init__()
        self.pick = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.pick.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            self.pick.bias.copy_(torch.tensor([0.3, 0.0, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.pick(x).mean((2, 3))
        return y


@pytest.fixture(scope="module")
def other(work: Path) -> Path:
    """An artifact of its own size, order of labels and pixels."""
    net = Net(Guess().eval(), Preprocess(20), ("red", "green", "blue"))
    return export_net(net, OnnxRuntime(), Path("other"), decode="fast").path


def test_another_model_gives_the_base_values(other: Path) -> None:
    value = recipe(
        "against", metric=F1Time(baseline=other), stages=(Resize(size=16, epochs=1),), gate="always"
    )
    targets = np.repeat(np.arange(3), 20)
    said = shipped(other)
    for step in recorded(value):
        score = score_of(step)
        base = score.base
        assert list(base.predictions_test) == said
        assert base.f1_test == pytest.approx(f1_score(targets, said, average="macro"))
        assert score.points_test == pytest.approx(points(score.f1_test, base.f1_test, score.time.median))
        assert score.points_val == pytest.approx(points(score.f1_val, base.f1_val, score.time.median))
        assert score.time.low < score.time.high  # of this model to the other, not to itself
        low, high = score.points_test_interval
        assert low < score.points_test < high
    assert score_of(steps(value)[0]).latency.ratio == 1.0  # tables still compare with the baseline
    got = evaluate("runs/against", "photos/test")
    times = got["baseline"]["latency_ms"]
    assert got["final"]["latency_ratio"] == pytest.approx(got["final"]["latency_ms"] / times, rel=0.6)
    assert got["score"] != pytest.approx(
        points(got["final"]["f1"], got["baseline"]["f1"], got["final"]["latency_ratio"])
    )


def test_a_run_gives_its_macs_and_an_artifact_alone_cannot(chain: list[Step], other: Path) -> None:
    metric = F1Macs(f1_base=None, macs_base=None, baseline=Path("runs/chain"))
    (step,) = steps(recipe("macs", metric=metric))
    base = score_of(step).base
    assert base.macs == score_of(chain[2]).macs
    assert step.to_dict()["base"]["macs"] == base.macs  # what scores it again elsewhere
    assert base.f1_test == score_of(chain[2]).f1_test
    short = 1 - score_of(step).f1_test / base.f1_test
    want = score_of(step).macs / base.macs + (short if short > 0 else 0.5 * short)
    assert score_of(step).points_test == pytest.approx(want)
    with pytest.raises(InputError, match=r"give a run.s folder, or metric\.macs_base"):
        steps(recipe("no-macs", metric=metric.model_copy(update={"baseline": other})))


def test_another_model_must_know_the_classes(work: Path) -> None:
    net = Net(Guess().eval(), Preprocess(20), ("red", "green", "grey"))
    path = export_net(net, OnnxRuntime(), Path("grey")).path
    with pytest.raises(InputError, match="grey tells red, green, grey apart; the data has blue, green, red"):
        steps(recipe("grey", metric=F1Time(baseline=path)))


def test_a_changed_base_is_measured_anew(other: Path) -> None:
    """Its files are part of what was asked, its path is not."""
    value = recipe("changed", metric=F1Time(baseline=other))
    first = score_of(steps(value)[0])
    assert score_of(steps(value)[0]) == first
    meta = json.loads((other / "artifact.json").read_text())
    (other / "artifact.json").write_text(
        json.dumps({**meta, "preprocess": {**meta["preprocess"], "decode": "reference"}})
    )
    assert score_of(steps(value)[0]) != first


# The command line ---------------------------------------------------------------------------------


def _call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, list[str], list[str]]:
    code = main(args)
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err.splitlines()


def test_a_requirement_that_is_not_met_is_exit_code_1_and_the_run_is_whole(
    chain: list[Step], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BEYONDNAS_STORE", "store")
    for name, require, code in (("strict", {"f1": 0.999, "time_ms": 1e5}, 1), ("lax", {"f1": 0.001}, 0)):
        Path(f"{name}.yaml").write_text(recipe(name, metric=F1Time(require=require)).to_yaml())
        got, out, err = _call(capsys, f"{name}.yaml")
        assert got == code
        assert (Path("runs") / name / "artifact" / "artifact.json").is_file()
        assert out[-1].startswith(("met: ", "NOT met: "))
        if code:
            assert out[-2].startswith("NOT met: F1 0.")
            f1 = read_report(f"runs/{name}")["final"]["f1_test"]
            assert err[-1] == f"error: requirement not met: F1 {f1:.4f}, required at least 0.999"


def test_evaluate_says_which_classes_are_absent(
    chain: list[Step], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("two/red").mkdir(parents=True)
    Path("two/blue").mkdir()
    for label in ("red", "blue"):
        photo = Path(f"photos/test/{label}/001.jpg")
        (Path("two") / label / "one.jpg").write_bytes(photo.read_bytes())
    Path("two/green").mkdir()  # there, and empty
    code, out, _ = _call(capsys, "evaluate", "runs/chain", "--data", "two")
    assert code == 0
    assert out[0] == "no image of green in two"
    assert "ms from file to label" in out[1]
    assert evaluate("runs/chain", "two")["absent"] == ["green"]


def test_a_baseline_that_is_not_there_is_one_line(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("gone.yaml").write_text(recipe("gone", metric=F1Time(baseline=Path("runs/none"))).to_yaml())
    code, _, err = _call(capsys, "gone.yaml")
    assert code == 2
    (line,) = err
    assert "metric.baseline: runs/none: neither artifact.json nor artifact/artifact.json there" in line
