"""The competition's data files, as recipes name them."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from compress.data.augment import Augment, CompetitionAugment, FlipCrop, NoAugment, TrivialAugment
from compress.data.competition import CompetitionData, CompetitionFile
from compress.data.folder import Group
from compress.errors import InputError
from compress.recipe import Recipe
from compress.train import TrainSpec

FILE = """\
DATA_PATH: "photos"
DATASET: "TACO"
IMG_SIZE: 16
AUG_TRAIN: "randaugment_train"
AUG_TEST: "simple_augment_test"
AUG_TRAIN_PARAMS:
    n_select: 3
    level: null
BATCH_SIZE: 64
EPOCHS: 300
VAL_RATIO: 0.1
INIT_LR: 0.2
FP16: True
"""
RECIPE = "name: r\ndata: {kind: competition, path: taco.yaml}\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taco.yaml").write_text(FILE)
    Path("r.yaml").write_text(RECIPE)


def recipe(*overrides: str, files: bool = False) -> Recipe:
    return Recipe.from_yaml("r.yaml", overrides, files=files)


def problems(*overrides: str, files: bool = False) -> tuple[str, ...]:
    with pytest.raises(InputError) as error:
        recipe(*overrides, files=files)
    return error.value.problems


def test_the_file_gives_data_and_training() -> None:
    made = recipe()
    assert isinstance(made.data, CompetitionData)
    assert (made.data.root, made.data.image_size, made.data.val_fraction) == (Path("photos"), 16, 0.1)
    assert made.data.fit == "pad"
    assert made.data.how == "reference-pad"
    train = made.train
    assert (train.epochs, train.batch_size, train.lr, train.precision) == (300, 64, 0.2, "auto")
    assert train.augment == CompetitionAugment(n_select=3, level=None)
    assert train.momentum == TrainSpec().momentum


def test_what_the_recipe_says_comes_first() -> None:
    made = recipe("train.epochs=4", "train.augment={kind: none}", "data.root=elsewhere", "data.image_size=32")
    assert (made.train.epochs, made.train.augment, made.train.batch_size) == (4, NoAugment(), 64)
    assert (str(made.data.root), made.data.image_size, made.data.val_fraction) == ("elsewhere", 32, 0.1)


def test_yaml_and_python_are_one_and_the_recipe_as_run_is_resolved() -> None:
    made = recipe("train.epochs=4")
    data = CompetitionData(path=Path("taco.yaml"))
    assert Recipe(name="r", data=data, train=TrainSpec(epochs=4)) == made
    assert Recipe(name="r", data=data, train=TrainSpec(epochs=4)).digest == made.digest
    Path("run.yaml").write_text(made.to_yaml())
    Path("taco.yaml").write_text(FILE.replace("300", "7").replace("16", "32"))
    assert Recipe.from_yaml("run.yaml", files=False) == made


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ('AUG_TRAIN: "simple_augment_train"', {"augment": FlipCrop(min_area=0.08)}),
        ("FP16: False", {"precision": "fp32"}),
        ("AUG_TRAIN_PARAMS: null", {"augment": CompetitionAugment()}),
        ("AUG_TRAIN_PARAMS: {n_select: 0}", {"augment": CompetitionAugment(n_select=0)}),
        ("INIT_LR: 1e-3", {"lr": 0.001}),
    ],
)
def test_other_values(line: str, change: dict[str, Any]) -> None:
    key = line.split(":")[0]
    kept = [text for text in FILE.splitlines() if not text.startswith((f"{key}:", f"    {key}"))]
    if key == "AUG_TRAIN_PARAMS":
        kept = [text for text in kept if not text.startswith("    ")]
    Path("taco.yaml").write_text("\n".join([*kept, line]))
    made = recipe()
    for name, value in change.items():
        assert getattr(made.train, name) == value


def test_keys_that_are_not_there_are_ours() -> None:
    Path("taco.yaml").write_text("DATA_PATH: photos\n")
    made = recipe()
    assert made.train == TrainSpec()
    assert (made.data.image_size, made.data.val_fraction) == (128, 0.15)
    Path("taco.yaml").write_text("IMG_SIZE: 32\n")
    assert problems() == ("r.yaml:2: data.root: required key is missing: "
                          "Folder with train/ and test/, relative to the working directory.",)  # fmt: skip


def test_every_mistake_of_the_file_has_its_line() -> None:
    text = FILE.replace("EPOCHS", "EPOCH").replace(" 16", " tiny").replace("n_select: 3", "n_selct: 3")
    Path("taco.yaml").write_text(text + "OPTIMIZER: adam\nFP16: 3\n")
    found = problems("train.lr=-1")
    assert len(found) == 7
    lines = {line.removeprefix("r.yaml:2: data.path: taco.yaml:").split(":")[0]: line for line in found}
    assert "train.lr: found -1; must be above 0" in found[0]
    assert "IMG_SIZE: found 'tiny'" in lines["3"]
    assert "AUG_TRAIN_PARAMS.n_selct: unknown key; did you mean 'n_select'?" in lines["7"]
    assert "EPOCH: unknown key; did you mean 'EPOCHS'?" in lines["10"]
    assert "OPTIMIZER: unknown key; valid: DATA_PATH, DATASET" in lines["14"]
    assert "FP16: duplicate key, first given in line 13" in next(x for x in found if "duplicate" in x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("TACO", "CIFAR10"), "taco.yaml:2: DATASET: found 'CIFAR10'; input should be 'TACO'"),
        (("simple_augment_test", "tta"), "taco.yaml:5: AUG_TEST: found 'tta'"),
        (("level: null", "level: 40"), "taco.yaml:6: AUG_TRAIN_PARAMS: level 40 is beyond n_level 31"),
        (
            ("BATCH_SIZE: 64", "BATCH_SIZE: 1"),
            "taco.yaml:9: BATCH_SIZE: found 1; input should be greater than",
        ),
        (
            ("randaugment_train", "my_policy"),
            "taco.yaml:4: AUG_TRAIN: found 'my_policy'; must be randaugment_train",
        ),
    ],
)
def test_values_we_cannot_follow(change: tuple[str, str], said: str) -> None:
    Path("taco.yaml").write_text(FILE.replace(*change))
    (line,) = problems()
    assert line.startswith(f"r.yaml:2: data.path: {said}")
    with pytest.raises(ValidationError, match=said.split(":")[-1].strip()[:20]):
        Recipe(name="r", data={"kind": "competition", "path": "taco.yaml"})


def test_a_policy_of_one_s_own_gives_way_to_the_recipe_s() -> None:
    Path("taco.yaml").write_text(FILE.replace("randaugment_train", "my_policy"))
    assert recipe("train.augment={kind: trivial}").train.epochs == 300


@pytest.mark.parametrize(
    ("overrides", "want"),
    [
        (["train.augment.flip=0"], CompetitionAugment(n_select=3, level=None, flip=0)),
        (
            ["train.augment.flip=0", "train.augment.cutout=0.1"],
            CompetitionAugment(n_select=3, level=None, flip=0, cutout=0.1),
        ),
        (["train.augment.flip=0", "data.path=other.yaml"], FlipCrop(min_area=0.08, flip=0)),
        (["train.augment.flip=0", "data={kind: digits}"], FlipCrop(flip=0)),
        (["train.augment.kind=trivial", "train.augment.flip=0"], TrivialAugment(flip=0)),
        (["train.augment.flip=0", "train.augment.kind=trivial"], TrivialAugment(flip=0)),
        (["train.augment.kind=competition", "train.augment.flip=0"], CompetitionAugment(flip=0)),
    ],
)
def test_one_value_of_the_policy_changes_no_other(overrides: list[str], want: Augment) -> None:
    Path("other.yaml").write_text("DATA_PATH: photos\nAUG_TRAIN: simple_augment_train\n")
    assert recipe(*overrides).train.augment == want


def test_one_value_of_a_policy_of_one_s_own_needs_a_kind() -> None:
    Path("taco.yaml").write_text(FILE.replace("randaugment_train", "my_policy"))
    (line,) = problems("train.augment.flip=0")
    assert line.startswith("--set train.augment.flip=0: train.augment.kind: required key is missing: none, ")


def test_no_file() -> None:
    Path("taco.yaml").unlink()
    assert problems() == ("r.yaml:2: data.path: taco.yaml: no such file",)


def test_no_part_for_val_needs_a_val_folder(make_folder: Any) -> None:
    Path("taco.yaml").write_text(FILE.replace("0.1", "0.0"))
    make_folder("photos", train={"a": 12, "b": 12}, test={"a": 3, "b": 3})
    (line,) = problems(files=True)
    assert line.startswith("r.yaml:2: data.root: taco.yaml: VAL_RATIO 0 and no photos/val")
    assert recipe("data.val_fraction=0.2", files=True).data.val_fraction == 0.2
    make_folder("photos", val={"a": 3, "b": 4})
    splits = recipe(files=True).data.load(0, lambda line: None)
    assert [len(part) for part in (splits.train, splits.tune, splits.val, splits.test)] == [22, 2, 7, 6]


def test_it_loads_as_a_folder_does(make_folder: Any) -> None:
    root = make_folder("photos", train={"a": 20, "b": 20}, test={"a": 3, "b": 3})
    group = Group(pattern=r"(\d+)", block=5)
    data = CompetitionData(path=Path("taco.yaml"), root=root, group=group)
    splits = data.load(3, lambda line: None)
    assert splits.train.images.shape[1:] == (16, 16, 3)
    assert len(splits.test) == 6
    assert data.check() == []
    assert CompetitionFile.read(Path("taco.yaml")).IMG_SIZE == 16
