"""Which Spec stands where in plain data: from the annotations, and the kinds the data names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from compress import plugins
from compress.errors import InputError
from compress.spec import Spec
from compress.stages.base import Stage
from compress.yamlio import KeyPath


def specs_in(annotation: Any) -> list[type[Spec]]:
    """The Specs an annotation mentions, whatever they are wrapped in; in their order."""
    parts = get_args(annotation)
    if not parts and isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    found = [spec for part in parts for spec in specs_in(part)]
    return list(dict.fromkeys(found))


def kind_of(spec: type[Spec]) -> str | None:
    """The ``kind`` of a member of a union, None for a Spec that has none."""
    field = spec.model_fields.get("kind")
    return field.default if field and isinstance(field.default, str) else None


def choose(specs: list[type[Spec]], value: Any) -> type[Spec] | None:
    """The Spec a mapping is meant for: the one of its kind, or the only one."""
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if specs == [Stage]:
        try:
            return plugins.stage(kind) if isinstance(kind, str) else None
        except InputError:  # a broken package of others: validation says so
            return None
    for spec in specs:
        if kind is not None and kind_of(spec) == kind:
            return spec
    return specs[0] if len(specs) == 1 else None


def step(value: Any, key: str | int) -> Any:
    """``value[key]``, None where there is no such thing."""
    try:
        return value[key]
    except (KeyError, IndexError, TypeError):
        return None


def at(value: Any, path: KeyPath) -> Any:
    for key in path:
        value = step(value, key)
    return value


def specs_at(root: type[Spec], data: Any, path: KeyPath) -> list[type[Spec]]:
    """The Specs that may stand at ``path``, several for a union; none where no Spec does."""
    specs = [root]
    for key in path:
        if isinstance(key, str):  # a list position changes nothing: its field has named the Specs
            owner = choose(specs, data)
            field = owner.model_fields.get(key) if owner else None
            specs = specs_in(field.annotation) if field else []
        data = step(data, key)
    return specs


def spec_at(root: type[Spec], data: Any, path: KeyPath) -> type[Spec] | None:
    """The Spec of the mapping at ``path``."""
    return choose(specs_at(root, data, path), at(data, path))


def kinds_at(root: type[Spec], data: Any, path: KeyPath) -> list[str]:
    """The kinds that may stand at ``path``."""
    specs = specs_at(root, data, path)
    if specs == [Stage]:
        return plugins.kinds()
    return [kind for spec in specs if (kind := kind_of(spec)) is not None]


def children(owner: type[Spec], node: Mapping[str, Any]) -> Iterator[tuple[KeyPath, type[Spec], Any]]:
    """The mappings directly below ``node`` that are meant for a Spec."""
    for key, field in owner.model_fields.items():
        value, specs = node.get(key), specs_in(field.annotation)
        items = enumerate(value) if isinstance(value, list | tuple) else ()
        for path, one in [((key,), value), *(((key, i), item) for i, item in items)]:
            if isinstance(one, Mapping) and (spec := choose(specs, one)) is not None:
                yield path, spec, one


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid word one most likely meant, None when none is near."""
    lower, by_lower = word.lower(), {v.lower(): v for v in valid}
    near = difflib.get_close_matches(lower, by_lower, n=1, cutoff=0.6)
    near += [v for v in by_lower if len(lower) > 2 and v.startswith(lower)]  # onnx: onnxruntime
    return by_lower[near[0]] if near else None
