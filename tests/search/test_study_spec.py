"""The file of a study: the three of the tree, and every mistake in one go."""

from __future__ import annotations

from pathlib import Path

import pytest
from fast_objective import SPACE, study_spec

from compress import yamlio
from compress.errors import InputError
from search.spec import StudySpec

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "recipes/spaces").glob("*.yaml"))


def test_the_three_are_there() -> None:
    assert {path.stem for path in FILES} == {"quickstart", "competition", "cpu"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_the_tree(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    spec = StudySpec.from_yaml(path, files=False)
    assert spec.baseline.check() == []
    again = StudySpec.model_validate(yamlio.parse(spec.to_yaml()).data)
    assert again == spec
    if spec.data.kind == "digits":
        assert StudySpec.from_yaml(path) == spec


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        yamlio.dump({"space": SPACE})
        + "name: wrong name\n"
        + "objectives: [f1, time]\n"
        + "sampler: {kind: nsga, population: 1}\n"
        + "trials: 0\n"
        + "limits: {ms: -1}\n"
        + "storage: postgres\n"
        + "proxies: {kind: naswot, candidates: 1}\n"
        + "worker: 2\n"
        + "fidelity: {epochs: [3, 10]}\n"
    )
    first = len(yamlio.dump({"space": SPACE}).splitlines()) + 1
    with pytest.raises(InputError) as caught:
        StudySpec.from_yaml(file, ["data.root=x"])
    told = "\n".join(caught.value.problems)
    for i, text in enumerate(
        (
            "name: ",
            "objectives[1]: found 'time'",
            "sampler.kind: unknown kind, found 'nsga'",
            "trials: found 0",
        )
    ):
        assert f"study.yaml:{first + i}: {text}" in told
    for text in (
        "limits.ms",
        "storage: ",
        "proxies.candidates: found 1",
        "did you mean 'workers'",
        "--set",
        "fidelity.epochs",
    ):
        assert text in told


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"objectives": ["score", "f1"]}, "must stand alone"),
        ({"objectives": ["f1", "f1"]}, "each may stand once"),
        ({"limits": {}}, "at least one of ms, params, macs, latency_ratio"),
        ({"fidelity": {"epochs": [3, 3, 60]}}, "must rise"),
        ({"fidelity": {"epochs": [3, 10]}}, r"must be the full training, train.epochs \(60\)"),
        (
            {"fidelity": {"epochs": [3, 60]}, "space": {**SPACE, "train": {"epochs": [30, 60]}}},
            "both say how long to train",
        ),
    ],
)
def test_parts_that_do_not_fit_together(parts: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        study_spec(**parts)


def test_more_trials_and_workers_are_the_same_study() -> None:
    one = study_spec(trials=5)
    assert study_spec(trials=50, workers=4).identity == one.identity
    assert study_spec(trials=5, seed=1).identity != one.identity
    assert study_spec(trials=5, objectives=["score"]).identity != one.identity


def test_images_that_the_data_cannot_give_are_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    found = []
    for data in ("{kind: digits}", "{kind: digits, nosuch: 1}", "{kind: folder, nosuch: 1}"):
        changed = [f"data={data}", "space.image_size=[32, 640]", "trials=0"]
        with pytest.raises(InputError) as caught:
            StudySpec.from_yaml("recipes/spaces/quickstart.yaml", changed)
        found.append([line for line in caught.value.problems if "found 640" in line])
    right = "space.image_size: found 640; must be at least 8 and at most 512 with data of kind digits"
    assert [line.endswith(right) for line in found[0]] == [True]
    assert found[1:] == [[], []]  # what that data is has to be known first
    assert study_spec(space={**SPACE, "image_size": [32, 512]}).space.image_size == (32, 512)
