"""All a recipe can say; its YAML and its Python are one value with one digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from compress import plugins, yamlio
from compress.ablation import checks
from compress.ablation.spec import AblationSpec
from compress.data.competition import CompetitionData, with_training
from compress.data.digits import DigitsData
from compress.data.folder import FolderData
from compress.errors import InputError
from compress.explain import Problem
from compress.gate import Gate
from compress.measure.score import F1Time, MetricSpec
from compress.models.zoo import ModelSpec, TorchvisionModel
from compress.reading import check_files, read_spec
from compress.runtimes.auto import AutoRuntime
from compress.runtimes.ncnn_runtime import NcnnRuntime
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.runtimes.openvino_runtime import OpenvinoRuntime
from compress.runtimes.tensorrt_runtime import TensorrtRuntime
from compress.runtimes.torch_runtime import TorchRuntime
from compress.spec import Spec, digest, refusal
from compress.spectree import at, kind_of, spec_at, specs_in
from compress.stages.base import Stage
from compress.stages.quantize import Quantize
from compress.track import TrackSpec
from compress.train import TrainSpec
from compress.yamlio import KeyPath, show

S = TypeVar("S")
DataSpec = Annotated[FolderData | DigitsData | CompetitionData, Field(discriminator="kind")]
RuntimeSpec = Annotated[
    AutoRuntime | TorchRuntime | OnnxRuntime | OpenvinoRuntime | NcnnRuntime | TensorrtRuntime,
    Field(discriminator="kind"),
]


class _ByKind:
    """A stage of ours or of another package, found by its kind when it is named: no fixed union can."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.make)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        members = [plugins.stage(kind) for kind in plugins.kinds()]
        return handler(core_schema.union_schema([m.__pydantic_core_schema__ for m in members if m]))

    @staticmethod
    def make(value: Any) -> Stage:
        if isinstance(value, Stage):
            return value
        if not isinstance(value, Mapping):
            raise PydanticKnownError("model_type", {"class_name": "Stage"})
        if "kind" not in value:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
        kind = str(value["kind"])
        try:
            cls = plugins.stage(kind)
        except InputError as error:
            raise PydanticCustomError("value_error", "{text}", {"text": str(error)}) from error
        if cls is None:
            tags = ", ".join(repr(k) for k in plugins.kinds())
            raise PydanticKnownError(
                "union_tag_invalid", {"discriminator": "'kind'", "tag": kind, "expected_tags": tags}
            )
        return cls.model_validate(value)


StageSpec = SerializeAsAny[Annotated[Stage, _ByKind()]]


class Recipe(Spec):
    """What to compress, how, and what counts as better."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="the run's folder: letters, digits, '.', '_' and '-'",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Every draw starts from it.")
    data: DataSpec = Field(DigitsData(), description="The images, how they are split and how decoded.")
    model: ModelSpec = Field(
        TorchvisionModel(name="mobilenet_v3_small"), description="The net that the chain starts from."
    )
    train: TrainSpec = Field(
        TrainSpec(), description="How the baseline is trained; stages fine-tune by it, too."
    )
    runtime: RuntimeSpec = Field(
        AutoRuntime(), description="What every step is exported to, timed and scored in."
    )
    metric: MetricSpec = Field(
        F1Time(), description="How F1 and time make one score, and what the final model must reach."
    )
    gate: Gate = Field("better", description="When a stage is kept; stages may have their own.")
    stages: tuple[StageSpec, ...] = Field(
        (), description="What is done to the net, in this order; without any, the baseline alone is scored."
    )
    control: bool = Field(
        False, description="Also train the baseline for the chain's total epochs, for the report."
    )
    track: TrackSpec | None = Field(
        None, description="Follow the run in TensorBoard or MLflow; it changes no result."
    )
    ablation: AblationSpec | None = Field(
        None, description="The variants of `python -m compress ablate`; a plain run ignores it."
    )

    @model_validator(mode="before")
    @classmethod
    def _training_of_the_data(cls, parts: Any) -> Any:
        return with_training(parts) if isinstance(parts, Mapping) else parts

    @field_validator("stages")
    @classmethod
    def _possible_order(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        wrong = list(misplaced([(type(stage), getattr(stage, "student", None)) for stage in stages]))
        if wrong:
            raise refusal(cls.__name__, [((i,), text) for i, text in wrong], stages)
        return stages

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        found = [*_unused_retries(self.gate, self.stages), *_ablation(self.ablation, self.stages)]
        if found:
            raise refusal(type(self).__name__, [(problem.path, problem.text) for problem in found], self)
        return self

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = (), *, files: bool = True) -> Recipe:
        """The recipe in a file, changed by ``overrides`` (``["stages[0].target=0.3"]``).

        ``files`` also looks whether what it names exists. Nothing is decoded, no weight is loaded.

        Raises:
            InputError: every mistake there is, one line each: file and line or the override, key
                path, what was found and what would be right.
        """
        return read_spec(cls, path, overrides, files=files, also=_problems_between_parts)

    def to_yaml(self) -> str:
        """YAML that ``from_yaml`` reads back as this recipe, defaults written out."""
        return yamlio.dump(self.canonical())

    @property
    def digest(self) -> str:
        """20 hex digits: equal for equal recipes, however they were written."""
        return digest(self.canonical())

    def check(self, skip: Sequence[str] = ()) -> list[str]:
        """One line for each named file or folder that is not there; ``skip`` names sections to leave out."""
        return [
            f"{show(problem.path)}: {problem.text}"
            for name in type(self).model_fields
            if name not in skip
            for problem in check_files(getattr(self, name), (name,))
        ]


def schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors; with the stages of other packages installed here."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


def misplaced(
    stages: Sequence[tuple[type[Stage] | None, Any]], int8: bool = False
) -> Iterator[tuple[int, str]]:
    """Position and reason of each stage that may not stand where it does, of (class, its student).

    ``int8``: the model is that from the start; then ``quantize`` has nothing to do, wherever it stands.
    """
    after, instead = ("an int8 model", "") if int8 else (None, "; put it before")
    for i, (stage, student) in enumerate(stages):
        if stage is None or (int8 and issubclass(stage, Quantize)):
            continue
        kind, cannot = stage.model_fields["kind"].default, f"cannot stand after {after}"
        if after is not None and not stage.after_quantize:
            allowed = " and ".join(k for k, cls in plugins.BUILT_IN.items() if cls.after_quantize)
            yield i, f"{kind} {cannot}; there only {allowed} can, as quantization-aware training"
        elif after is not None and student is not None:
            yield i, f"{kind} with a fresh student {cannot}, whose int8 ranges would be lost{instead}"
        if after is None and issubclass(stage, Quantize):
            after = f"quantize (stages[{i}])"


def _unused_retries(gate: Any, stages: Sequence[Stage | None]) -> Iterator[Problem]:
    """Each ``retry`` that can never be used, since the gate always keeps the first try."""
    for i, stage in enumerate(stages):
        if stage is not None and stage.retry is not None and (stage.gate or gate) == "always":
            yield Problem(("stages", i, "retry"), "the gate is always, which keeps the first try: no retry")


def _ablation(spec: AblationSpec | None, stages: Sequence[Stage | None]) -> Iterator[Problem]:
    """What in ``ablation`` does not fit the stages, or names no runtime there is."""
    if spec is not None:
        members = specs_in(Recipe.model_fields["runtime"].annotation)
        kinds = [kind for member in members if (kind := kind_of(member)) not in (None, "auto")]
        for path, text in checks.wrong(spec, stages, kinds):
            yield Problem(("ablation", *path), text)


def _problems_between_parts(data: Mapping[str, Any]) -> list[Problem]:
    """The same of data that may be wrong elsewhere, where the validators above do not get to run."""
    found = _order_problems(data)
    listed = data.get("stages")
    stages = [_made(_ByKind.make, stage) for stage in (listed if isinstance(listed, list) else [])]
    found += _unused_retries(data.get("gate", "better"), stages)
    found += _ablation(_made(AblationSpec.model_validate, data.get("ablation")), stages)
    return found


def _made(make: Callable[[Any], S], data: Any) -> S | None:
    """What ``make`` makes of ``data``, None where that is wrong: other lines say so."""
    try:
        return make(data)
    except (ValidationError, PydanticCustomError, PydanticKnownError):
        return None


def _order_problems(data: Mapping[str, Any]) -> list[Problem]:
    """Stages out of order."""
    stages = data.get("stages")
    count = len(stages) if isinstance(stages, list) else 0
    paths: list[KeyPath] = [("stages", i) for i in range(count)]
    types = cast("list[type[Stage] | None]", [spec_at(Recipe, data, path) for path in paths])
    found = misplaced([(t, at(data, (*path, "student"))) for t, path in zip(types, paths, strict=True)])
    return [Problem(("stages", i), text) for i, text in found]
