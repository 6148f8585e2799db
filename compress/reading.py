"""A Spec from a YAML file and overrides: either it, or everything that is wrong in one go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from compress import yamlio
from compress.data.competition import start_of
from compress.errors import InputError
from compress.explain import Problem, validate
from compress.overrides import Absent, Override, apply_overrides, parse_override
from compress.spec import Spec
from compress.spectree import at, children, spec_at, step
from compress.yamlio import KeyPath, Located, show

S = TypeVar("S", bound=Spec)


def read_spec(
    spec: type[S],
    path: str | Path | Located,
    overrides: Sequence[str] = (),
    *,
    files: bool = True,
    also: Callable[[Mapping[str, Any]], Iterable[Problem]] = lambda data: (),
) -> S:
    """The ``spec`` in a file (or in what was read of one), changed by ``overrides``.

    Args:
        files: also ask every part that has a ``check`` whether what it names exists.
        also: problems of the whole that validation sees only once all parts are valid.

    Raises:
        InputError: one line for each mistake, in the order of the file, overrides first; one line in all
            where the file is of another kind.
    """
    located = path if isinstance(path, Located) else yamlio.read_located(path)
    if (line := _another(spec, located)) is not None:
        raise InputError(line)
    data, applied, lines = _overridden(spec, located.data, overrides)

    def judged(data: dict[str, Any]) -> tuple[S | None, list[Problem]]:
        made, problems, meant = validate(spec, data)
        problems += also(data)
        return made, [*problems, *(_check_parts(spec, meant) if files else ())]

    made, problems = judged(data)
    before = judged(located.data)[1] if problems and applied else []  # what overrides are not to blame for
    found = {_place(problem, located, applied, problem in before) for problem in problems}
    found |= {(line, text) for (_, line, _), text in zip(located.duplicates, located.problems(), strict=True)}
    lines += [text for _, text in sorted(found)]
    if lines or made is None:
        raise InputError(lines)
    return made


def _another(spec: type[Spec], located: Located) -> str | None:
    """What to do with a file of another kind, told by keys that only that has; None: it may be a ``spec``."""
    given, own, name = located.data.keys(), spec.model_fields, located.name
    if "backbone" in given and "backbone" not in own:
        return f"{name}: a model file; a recipe takes it as model: {{kind: yaml, path: {name}}}"
    if "space" in given and "space" not in own:
        return f"{name}: a study; run it with python -m search {name}"
    if "space" in own and "space" not in given and {"model", "control", "track", "ablation"} & given:
        return f"{name}: a recipe; run it with python -m compress {name}"
    return None


def check_files(made: Any, path: KeyPath = ()) -> Iterator[Problem]:
    """What the ``check`` of ``made`` and of every Spec in it has to say."""
    if isinstance(made, tuple | list):
        for i, item in enumerate(made):
            yield from check_files(item, (*path, i))
    elif isinstance(made, Spec):
        for text in getattr(made, "check", list)():
            yield Problem((*path, *_named(made, text)), text)
        yield from _check_fields(made, path)


def _check_fields(made: Spec, path: KeyPath) -> Iterator[Problem]:
    for key in type(made).model_fields:
        yield from check_files(getattr(made, key), (*path, key))


def _named(made: Spec, text: str) -> KeyPath:
    """The key of the path that a problem is about."""
    for key in type(made).model_fields:
        value = getattr(made, key)
        if isinstance(value, Path) and str(value) in text:
            return (key,)
    return ()


def _check_parts(spec: type[Spec], node: Mapping[str, Any], path: KeyPath = ()) -> Iterator[Problem]:
    """The same for data that may be wrong in places: every part is asked, without the keys at fault."""
    try:
        made = spec.model_validate(node)
    except ValidationError as error:
        wrong = {part["loc"][0] for part in error.errors(include_url=False) if part["loc"]}
        if path:
            yield from _check_without(spec, node, wrong, path)
        for key, field in spec.model_fields.items():
            if key not in node:
                yield from check_files(
                    field.get_default(call_default_factory=True, validated_data={}), (*path, key)
                )
        for below, child, value in children(spec, node):
            yield from _check_parts(child, value, (*path, *below))
    else:
        yield from check_files(made, path) if path else _check_fields(made, path)


def _check_without(
    spec: type[Spec], node: Mapping[str, Any], wrong: Collection[int | str], path: KeyPath
) -> Iterator[Problem]:
    """What a part's own ``check`` says where keys at fault are left out, but for what it says of those."""
    try:
        made = spec.model_validate({key: value for key, value in node.items() if key not in wrong})
    except ValidationError:  # such a key is a required one
        return
    for text in getattr(made, "check", list)():
        named = _named(made, text)
        if not set(named) & set(wrong):
            yield Problem((*path, *named), text)


def _overridden(
    spec: type[Spec], data: dict[str, Any], texts: Sequence[str]
) -> tuple[dict[str, Any], list[Override], list[str]]:
    """``data`` with the overrides that can be applied, those, and what is wrong with the others."""
    whole = _applied(data, texts, lambda here, path: {})[0]  # whatever order they are given in

    def absent(here: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        """A section that is not in the file starts as what the data's own file says, else as the kind it has
        by default."""
        said = None if at(whole, (*path, "kind")) else start_of(whole, path)
        if said is not None:
            return said
        owner = spec_at(spec, here, path[:-1])
        field = owner.model_fields.get(str(path[-1])) if owner else None
        default = field.get_default(call_default_factory=True, validated_data={}) if field else None
        return {"kind": default.kind} if isinstance(default, Spec) and hasattr(default, "kind") else {}

    return _applied(data, texts, absent)


def _applied(
    data: dict[str, Any], texts: Sequence[str], absent: Absent
) -> tuple[dict[str, Any], list[Override], list[str]]:
    applied: list[Override] = []
    problems: list[str] = []
    for text in texts:
        try:
            override = parse_override(text)
            data = apply_overrides(data, [override], absent)
        except InputError as error:
            problems += error.problems
        else:
            applied.append(override)
    return data, applied, problems


def _place(
    problem: Problem, located: Located, overrides: Sequence[Override], before: bool
) -> tuple[int, str]:
    """A problem as what to sort it by, and a line that starts with the file and line, the override or both.

    Both where what a section says of itself came with an override in it: either may have to change.
    ``before``: the file has the problem without any override.
    """
    path = problem.path
    text = f"{show(path)}: {problem.text}" if path else problem.text
    in_file = next((i for i in range(len(path)) if not _has(at(located.data, path[:i]), path[i])), len(path))
    for override in reversed(overrides):
        common = _common(override.path, path)
        # What a section says of a word in it, as of the name of a model.
        about = common == len(path) and isinstance(override.value, str) and repr(override.value) in text
        if common == len(override.path) or common > in_file or about:
            return 0, f"{override}: {text}"
    line = located.line_of(path)
    inside = [str(one) for one in overrides if not before and one.path[: len(path)] == path]
    cause = f" with {' and '.join(inside)}" if inside else ""
    return line, f"{located.name}:{line}{cause}: {text}"


def _has(value: Any, key: str | int) -> bool:
    return key in value if isinstance(value, Mapping) else step(value, key) is not None


def _common(a: KeyPath, b: KeyPath) -> int:
    """How many keys two paths share."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
