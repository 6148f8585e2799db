"""The trash competition's own data files (configs/data/taco.yaml): its photos, and how it trained on them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from compress import yamlio
from compress.data.folder import FolderData
from compress.errors import InputError
from compress.spec import Spec, refusal

_POLICIES = ("randaugment_train", "simple_augment_train")


class AugmentParams(Spec):
    """Arguments of ``randaugment_train``; what is left out is as in the competition's code."""

    n_select: int = Field(2, ge=0, le=14)
    level: int | None = Field(14, ge=0)
    n_level: int = Field(31, ge=1)

    @model_validator(mode="after")
    def _level_in_range(self) -> AugmentParams:
        if self.level is not None and self.level > self.n_level:
            raise ValueError(f"level {self.level} is beyond n_level {self.n_level}")
        return self


class CompetitionFile(Spec):
    """A data file of the competition, its keys as they are there.

    AUG_TEST can only be ``simple_augment_test`` without arguments, as every entry had it: photos are resized
    to IMG_SIZE and normalised. FP16 was half precision on a GPU, and did nothing on a CPU.
    """

    DATA_PATH: Path | None = None
    DATASET: Literal["TACO"] = "TACO"
    IMG_SIZE: int | None = Field(None, ge=8, le=2048)
    AUG_TRAIN: str | None = None
    AUG_TRAIN_PARAMS: AugmentParams | None = None
    AUG_TEST: Literal["simple_augment_test"] = "simple_augment_test"
    AUG_TEST_PARAMS: None = None
    BATCH_SIZE: int | None = Field(None, ge=2)
    EPOCHS: int | None = Field(None, ge=0)
    VAL_RATIO: float | None = Field(None, ge=0, lt=1)
    INIT_LR: float | None = Field(None, gt=0)
    FP16: bool | None = None

    @classmethod
    def read(cls, path: Path) -> CompetitionFile:
        """The file at ``path``.

        Raises:
            InputError: one line for each mistake, unknown keys among them, with file and line.
        """
        located = yamlio.read_located(path)
        lines = [
            (line, text) for (_, line, _), text in zip(located.duplicates, located.problems(), strict=True)
        ]
        try:
            made = cls.model_validate(located.data)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                where = tuple(k for k in one["loc"] if isinstance(k, str))
                line = located.line_of(where)
                lines.append((line, f"{path}:{line}: {yamlio.show(where)}: {_explained(dict(one), cls)}"))
        if lines:
            raise InputError([text for _, text in sorted(lines)])
        return made

    def data(self) -> dict[str, Any]:
        """What it says of the photos, as keys of ``CompetitionData``."""
        said = {"root": self.DATA_PATH, "image_size": self.IMG_SIZE, "val_fraction": self.VAL_RATIO}
        return {key: value for key, value in said.items() if value is not None}

    def train(self) -> dict[str, Any]:
        """What it says of the training, as keys of a recipe's ``train``; INIT_LR was one-cycle's peak too.

        Raises:
            InputError: an AUG_TRAIN of somebody's own.
        """
        said = {
            "epochs": self.EPOCHS,
            "batch_size": self.BATCH_SIZE,
            "lr": self.INIT_LR,
            "precision": None if self.FP16 is None else "auto" if self.FP16 else "fp32",
            "augment": self.augment(),
        }
        return {key: value for key, value in said.items() if value is not None}

    def augment(self) -> dict[str, Any] | None:
        """The recipe's policy of AUG_TRAIN, None without one.

        Raises:
            InputError: one of somebody's own.
        """
        if self.AUG_TRAIN is None:
            return None
        if self.AUG_TRAIN == "randaugment_train":
            return {"kind": "competition", **(self.AUG_TRAIN_PARAMS or AugmentParams()).canonical()}
        if self.AUG_TRAIN == "simple_augment_train":  # a random part of 8 to 100 % of the area, and a mirror
            return {"kind": "flip_crop", "min_area": 0.08}
        raise InputError(
            f"AUG_TRAIN: found {self.AUG_TRAIN!r}; must be {' or '.join(_POLICIES)}, or give train.augment"
        )


class CompetitionData(FolderData):
    """Photos as a data file of the competition describes them; what is given beside ``path`` comes first.

    DATA_PATH is ``root``, IMG_SIZE ``image_size`` and VAL_RATIO ``val_fraction``; its training values are the
    defaults of the recipe's ``train`` (see ``with_training``). Photos that are not square are padded, as by
    the competition's SquarePad.
    """

    model_config = ConfigDict(json_schema_extra=lambda schema: schema["required"].remove("root"))

    kind: Literal["competition"] = "competition"  # type: ignore[assignment]
    path: Path = Field(description="The data file, e.g. configs/data/taco.yaml.")
    fit: Literal["squeeze", "pad"] = Field("pad", description="See `data.fit` of kind folder.")
    val_fraction: float = Field(
        0.15, ge=0, lt=1, description="Of train, for val, when there is no val/; 0: there must be one."
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        said = ("root", "image_size", "val_fraction")
        if not isinstance(data, Mapping) or all(key in data for key in said):
            return data
        path = data.get("path")
        if not isinstance(path, str | Path):
            return data
        try:
            return {**CompetitionFile.read(Path(path)).data(), **data}
        except InputError as error:
            raise _at(cls.__name__, ("path",), path, error) from error

    def check(self) -> list[str]:
        """One line for each problem of the file and of the photos' folder."""
        try:
            CompetitionFile.read(self.path)
        except InputError as error:
            return list(error.problems)
        if self.val_fraction == 0 and not (self.root / "val").is_dir():
            return [
                f"{self.path}: VAL_RATIO 0 and no {self.root / 'val'}: what is kept is decided on val; make "
                "one, or give data.val_fraction"
            ]
        return super().check()


def start_of(recipe: Mapping[str, Any], section: tuple[str | int, ...]) -> dict[str, Any] | None:
    """What a section starts as that a recipe does not give, so that where one value is changed the others are
    those of the competition's data file; None where that says nothing of it.

    It starts empty for an AUG_TRAIN of somebody's own: a kind must be given.
    """
    path = _path_in(recipe)
    if section != ("train", "augment") or path is None:
        return None
    try:
        file = CompetitionFile.read(path)
    except InputError:  # the data says what is wrong with it
        return None
    try:
        return file.augment()
    except InputError:
        return {}


def with_training(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's parts, with what the competition's data file says of training where ``train`` says nothing.

    Raises:
        ValidationError: an AUG_TRAIN of somebody's own, and no ``train.augment``.
    """
    path, train = _path_in(recipe), recipe.get("train")
    if isinstance(train, Spec):
        given: dict[str, Any] = {name: getattr(train, name) for name in train.model_fields_set}
    elif train is None or isinstance(train, Mapping):
        given = dict(train or {})
    else:
        return dict(recipe)
    if path is None:
        return dict(recipe)
    try:
        file = CompetitionFile.read(path)
    except InputError:  # the data says what is wrong with it
        return dict(recipe)
    if "augment" in given:
        file = file.model_copy(update={"AUG_TRAIN": None})
    try:
        return {**recipe, "train": {**file.train(), **given}}
    except InputError as error:
        line = yamlio.read_located(path).line_of(("AUG_TRAIN",))
        raise _at("Recipe", ("data", "path"), path, error, f"{path}:{line}: ") from error


def _path_in(recipe: Mapping[str, Any]) -> Path | None:
    """The competition's data file that a recipe names, None when it names none."""
    data = recipe.get("data")
    if isinstance(data, CompetitionData):
        return data.path
    path = data.get("path") if isinstance(data, Mapping) and data.get("kind") == "competition" else None
    return Path(path) if isinstance(path, str | Path) else None


def _at(title: str, where: tuple[str, ...], found: Any, error: InputError, name: str = "") -> ValidationError:
    """The problems of a file, as those of the key that names it."""
    return refusal(title, [(where, name + text) for text in error.problems], found)


def _explained(error: Mapping[str, Any], spec: type[Spec]) -> str:
    """One line: what was found, and what would be right."""
    found, message = error["input"], str(error["msg"])
    if error["type"] == "extra_forbidden":
        owner = spec if len(error["loc"]) == 1 else AugmentParams
        key = str(error["loc"][-1])
        near = difflib.get_close_matches(key.upper() if owner is spec else key, owner.model_fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"valid: {', '.join(owner.model_fields)}"
        return f"unknown key; {hint}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"found {found!r}; {message[:1].lower()}{message[1:]}"
