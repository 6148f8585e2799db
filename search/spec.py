"""All that the file of a study can say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator, model_validator

from compress import yamlio
from compress.data.competition import with_training
from compress.data.digits import DigitsData
from compress.errors import InputError
from compress.explain import Problem, validate
from compress.gate import Gate
from compress.measure.score import F1Time, MetricSpec
from compress.models.zoo import ModelSpec, TorchvisionModel
from compress.reading import read_spec
from compress.recipe import DataSpec, Recipe, RuntimeSpec, StageSpec
from compress.runtimes.auto import AutoRuntime
from compress.spec import Spec, digest, refusal
from compress.train import TrainSpec
from search.joint import SEARCHED, Choices, problems, typed
from search.samplers import SamplerSpec, Tpe
from search.space import Space, sizes_beyond

ObjectiveName = Literal["f1", "ms", "params", "macs", "score"]
Direction = Literal["minimize", "maximize"]
DIRECTIONS: dict[str, Direction] = {
    "f1": "maximize",
    "ms": "minimize",
    "params": "minimize",
    "macs": "minimize",
    "score": "minimize",
}


# What may change between two calls that are to go on with one study.
_GROWING = ("trials", "max_hours", "workers")


class Limits(Spec):
    """Hard bounds, looked at before a candidate is trained, let alone goes through ``stages``."""

    ms: float | None = Field(None, gt=0, description="Milliseconds of one image, the model alone, at most.")
    params: float | None = Field(None, gt=0, description="Parameters, at most.")
    macs: float | None = Field(None, gt=0, description="Multiply-accumulates of one image, at most.")
    latency_ratio: float | None = Field(
        None, gt=0, description="Time of the model alone relative to the baseline's, at most."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Limits:
        if all(value is None for value in self.canonical().values()):
            raise ValueError("needs at least one of ms, params, macs, latency_ratio")
        return self

    def bounds(self, base_ms: Callable[[], float]) -> dict[str, float]:
        """Of ``ms``, ``params`` and ``macs`` those that are bounded; ``base_ms`` is asked if needed."""
        found = {key: getattr(self, key) for key in ("ms", "params", "macs")}
        if self.latency_ratio is not None:
            found["ms"] = min(self.ms or float("inf"), self.latency_ratio * base_ms())
        return {key: value for key, value in found.items() if value is not None}


class Proxies(Spec):
    """Of so many sampled candidates one within the limits is trained: where F1 is the only objective the best
    by a proxy, beside a cost any, drawn, that no other beats by the proxy at no more cost.

    No proxy needs training.
    """

    kind: Literal["synflow", "naswot", "zen"] = "synflow"
    candidates: int = Field(4, ge=2, le=256, description="Sampled for each one that is trained.")


class Fidelity(Spec):
    """Trainings are paused, and only those of candidates among the best so far go on.

    Li et al., A system for massively parallel hyperparameter tuning (ASHA), 2020, the variant that stops.
    """

    epochs: tuple[int, ...] = Field(
        min_length=2, description="Where a training is paused, rising; the last is its end, train.epochs."
    )
    keep: float = Field(0.33, gt=0, lt=1, description="The best part of those at a rung so far goes on.")

    @model_validator(mode="after")
    def _rising(self) -> Fidelity:
        if self.epochs[0] < 1 or any(a >= b for a, b in zip(self.epochs, self.epochs[1:], strict=False)):
            raise ValueError("epochs must rise from at least 1, as in [3, 10, 30]")
        return self


class OneShotSpec(Spec):
    """Candidates are not trained: their weights come from one supernet; the best are fine-tuned at last."""

    epochs: int | None = Field(
        None, ge=1, description="Of the supernet; left out, five times those of `train`, which says the rest."
    )
    subnets: int = Field(2, ge=0, description="Drawn nets in each step, beside the largest and the smallest.")
    finalists: int = Field(
        3,
        ge=1,
        description="Best candidates, fine-tuned and measured at the end; one beyond a limit as measured "
        "makes room for the next.",
    )
    finetune: int = Field(15, ge=1, description="Epochs of each of them.")


class StudySpec(Spec):
    """What to search, how, and what counts as better."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="the study's folder: letters, digits, '.', '_' and '-'",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Every draw starts from it.")
    data: DataSpec = DigitsData()
    baseline: ModelSpec = Field(
        TorchvisionModel(name="mobilenet_v3_small"),
        description="What candidates are compared with, trained as they are; runtime auto is resolved on it.",
    )
    train: TrainSpec = TrainSpec()
    runtime: RuntimeSpec = AutoRuntime()
    metric: MetricSpec = F1Time()
    space: Space
    gate: Gate = Field("better", description="When a stage is kept; stages may have their own.")
    stages: tuple[StageSpec, ...] = Field((), description="A chain that every candidate goes through.")
    search: dict[str, Choices] = Field(
        {},
        description="Values of train, stages and gate, by key path: stages[0].target: {low: 0.2, high: 0.8}",
    )
    objectives: tuple[ObjectiveName, ...] = Field(
        ("f1", "ms"), min_length=1, description="f1 is maximised, the rest minimised; score stands alone."
    )
    sampler: SamplerSpec = Tpe()
    trials: int = Field(
        50, ge=1, description="Candidates to train; duplicates and those beyond limits are free."
    )
    max_hours: float | None = Field(
        None,
        gt=0,
        description="Ask for no new trial once all calls and workers have worked so long together, baseline "
        "included; two workers use up two hours in one. Fine-tuning one_shot's finalists comes on top.",
    )
    limits: Limits | None = None
    storage: str = Field(
        "sqlite",
        pattern=r"^(sqlite|journal|[A-Za-z][A-Za-z0-9+]*://.+)$",
        description="sqlite or journal, a file in the study's folder; or a database's URL, as Optuna has it",
    )
    proxies: Proxies | None = None
    fidelity: Fidelity | None = None
    one_shot: OneShotSpec | None = None
    workers: int = Field(1, ge=1, le=64, description="Processes that train at once; timings take turns.")

    @model_validator(mode="before")
    @classmethod
    def _training_of_the_data(cls, parts: Any) -> Any:
        return with_training(parts) if isinstance(parts, Mapping) else parts

    @field_validator("search")
    @classmethod
    def _numbers_as_taken(cls, search: dict[str, Choices], info: ValidationInfo) -> dict[str, Choices]:
        parts = info.data  # of the fields above, those that are valid
        return typed(search, {key: _plain(parts[key]) for key in SEARCHED if key in parts})

    @model_validator(mode="after")
    def _fits_together(self) -> StudySpec:
        found = [*_all_misfits(self), *sizes_beyond(self.space, self.data)]
        if found:
            raise refusal(type(self).__name__, [(problem.path, problem.text) for problem in found], self)
        return self

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = (), *, files: bool = True) -> StudySpec:
        """The study in a file, changed by ``overrides`` (``["data.image_size=96"]``).

        Raises:
            InputError: every mistake there is, one line each; see ``Recipe.from_yaml``.
        """
        return read_spec(cls, path, overrides, files=files, also=_between_parts)

    def to_yaml(self) -> str:
        """YAML that ``from_yaml`` reads back as this study, defaults written out."""
        return yamlio.dump(self.canonical())

    @property
    def directions(self) -> list[Direction]:
        """Of the objectives, as Optuna has them."""
        return [DIRECTIONS[name] for name in self.objectives]

    @property
    def identity(self) -> str:
        """20 hex digits: equal for two calls that go on with one study, whatever their ``_GROWING`` keys."""
        return digest({key: value for key, value in self.canonical().items() if key not in _GROWING})


def _between_parts(data: Mapping[str, Any]) -> list[Problem]:
    """What does not fit together, of the parts that are valid by themselves: validation stops before that."""
    parts: dict[str, Any] = {"name": "study"}
    for key, field in StudySpec.model_fields.items():
        try:
            parts[key] = TypeAdapter[Any](field.annotation or Any).validate_python(data[key])
        except (KeyError, ValidationError):
            continue  # the default stands in; other lines say what is wrong
    if "space" not in parts:
        return []
    spec = StudySpec.model_construct(**parts)
    sizes = sizes_beyond(spec.space, spec.data) if "data" in parts or "data" not in data else ()
    return [*_all_misfits(spec), *sizes]


def _all_misfits(spec: StudySpec) -> list[Problem]:
    return [*_misfits(spec), *_joint(spec)]


def _misfits(spec: StudySpec) -> Iterator[Problem]:
    yield from _trainings_without_effect(spec)
    objectives, fidelity = spec.objectives, spec.fidelity
    if len(set(objectives)) < len(objectives):
        yield Problem(("objectives",), f"found {', '.join(objectives)}; each may stand once")
    elif "score" in objectives and len(objectives) > 1:
        yield Problem(("objectives",), "score is F1 and time in one number: it must stand alone")
    if fidelity is None:
        return
    if fidelity.epochs[-1] != spec.train.epochs:
        yield Problem(
            ("fidelity", "epochs"),
            f"found {fidelity.epochs[-1]} at the end; must be the full training, "
            f"train.epochs ({spec.train.epochs})",
        )
    if spec.space.train.epochs is not None or "train.epochs" in spec.search:
        yield Problem(
            ("fidelity",), "cannot stand beside a search of train.epochs: both say how long to train"
        )


def _trainings_without_effect(spec: StudySpec) -> Iterator[Problem]:
    """What would say how to train candidates that ``one_shot`` does not train."""
    if spec.one_shot is None:
        return
    for key in ("proxies", "fidelity", "stages", "search"):
        if getattr(spec, key):
            yield Problem((key,), "cannot stand beside one_shot, which trains no candidate")
    for key, choices in spec.space.train:
        if choices is not None:
            yield Problem(("space", "train", key), "cannot stand beside one_shot, which trains no candidate")


def _joint(spec: StudySpec) -> Iterator[Problem]:
    """What is wrong with ``search``, ``stages`` and ``gate`` together."""
    if spec.gate != "better" and not spec.stages:
        yield Problem(("gate",), "it has no effect without stages")
    for key in spec.search:
        # n_select is of the competition's augmentation: it decides the kind, and with it the other keys
        name = "n_select" if key.startswith("train.augment") else key.removeprefix("train.")
        if name != key and getattr(spec.space.train, name, None) is not None:
            yield Problem(("search", key), f"space.train.{name} is searched already")
    recipe = {"name": "study", **{key: _plain(getattr(spec, key)) for key in SEARCHED}}
    _, wrong, _ = validate(Recipe, recipe)
    yield from wrong
    if not wrong:
        yield from problems(spec.search, recipe)


def _plain(part: Any) -> Any:
    """A part of a study as a recipe's content."""
    if isinstance(part, Spec):
        return part.canonical()
    return [one.canonical() for one in part] if isinstance(part, tuple) else part


def as_one_shot(spec: StudySpec) -> StudySpec:
    """The study with ``one_shot``, without what trains candidates, under a name of its own.

    Raises:
        InputError: it searches how candidates are trained, or what they go through.
    """
    if spec.one_shot is not None:
        return spec
    without: dict[str, Any] = {"one_shot": {}, "proxies": None, "fidelity": None}
    content = {**spec.canonical(), **without, "name": f"{spec.name[:55]}-one-shot"}
    try:
        return StudySpec.model_validate(content)
    except ValidationError as error:
        found = [f"--one-shot: {'.'.join(map(str, one['loc']))} {one['msg']}" for one in error.errors()]
        raise InputError(found) from error
