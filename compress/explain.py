"""What is wrong with plain data meant for a Spec: one line for each mistake, all of them at once.

pydantic reports a mistake below a union once for each member of it; here it is one line that names
what was found and what would be right: the nearest key or kind, the whole range, the valid words.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from compress.spec import Spec
from compress.spectree import at, children, kinds_at, nearest, spec_at, step
from compress.yamlio import KeyPath

S = TypeVar("S", bound=Spec)

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "path": "a path",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "none": "null",
}
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_KIND = ("union_tag_invalid", "union_tag_not_found")
_MAPPING = ("model_type", "model_attributes_type", "dict_type")


@dataclass(frozen=True)
class Problem:
    """A mistake: where in the data, and what it is, in one line."""

    path: KeyPath
    text: str


@dataclass(frozen=True)
class _Error:
    """An error of pydantic.

    Attributes:
        path: where in the data; union: the path of the union it was reported for, if any, by
        its ``member``; rivals: what the other members had to say about the same scalar.
    """

    path: KeyPath
    union: KeyPath | None
    member: str
    type: str
    input: Any
    context: Mapping[str, Any]
    message: str
    rivals: tuple[_Error, ...] = ()


def validate(spec: type[S], data: dict[str, Any]) -> tuple[S | None, list[Problem], dict[str, Any]]:
    """``data`` as a ``spec``, or None; everything that is wrong with it; ``data`` as it was most likely
    meant: with the nearest kinds in place of unknown ones."""
    problems = list(_booleans(spec, data))
    made: S | None = None
    while made is None:
        try:
            made = spec.model_validate(data)
        except ValidationError as error:
            found, repaired = _Explainer(spec, data).explain(error)
            seen = {p.path for p in problems}
            problems += [p for p in found if p.path not in seen]
            if repaired is None:
                break
            data = repaired  # with the nearest kind in its place, the keys beside it are checked too
    return (None if problems else made), problems, data


def quote(value: Any) -> str:
    """A value in one short line, constants as YAML writes them."""
    text = {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _booleans(spec: type[Spec], node: Mapping[str, Any], path: KeyPath = ()) -> Iterator[Problem]:
    """``true`` given for a number: pydantic takes it for 1, a person does not."""
    for key, field in spec.model_fields.items():
        types = {field.annotation, *get_args(field.annotation)}
        if isinstance(node.get(key), bool) and types & {int, float} and bool not in types:
            number = "a number" if float in types else "a whole number"
            yield Problem((*path, key), f"found {quote(node[key])}; must be {number}")
    for below, child, value in children(spec, node):
        yield from _booleans(child, value, (*path, *below))


class _Explainer:
    """The errors of one validation of ``data``, in words."""

    def __init__(self, spec: type[Spec], data: dict[str, Any]) -> None:
        self.spec = spec
        self.data = data

    def explain(self, error: ValidationError) -> tuple[list[Problem], dict[str, Any] | None]:
        """The problems; and ``data`` with near kinds in place of unknown ones, if there are any."""
        errors = self.one_member_each([self.locate(e) for e in error.errors(include_url=False)])
        unknown = [e.path for e in errors if e.type == "extra_forbidden"]
        meant = {(*path[:-1], self.near_key(path)) for path in unknown}
        problems: list[Problem] = []
        repaired: dict[str, Any] | None = None
        for e in errors:
            if e.type == "missing" and e.path in meant:
                continue  # the unknown key beside it is the one mistake
            if e.type == "too_short" and any(_below(other.path, e.path) for other in errors):
                continue  # pydantic counts the valid items only
            path = (*e.path, "kind") if e.type in _KIND else e.path
            problems.append(Problem(path, self.text(e)))
            near = nearest(str(at(self.data, path)), kinds_at(self.spec, self.data, e.path))
            if e.type == "union_tag_invalid" and near is not None:
                repaired = repaired or copy.deepcopy(self.data)
                at(repaired, e.path)["kind"] = near
        return problems, repaired

    def locate(self, raw: ErrorDetails) -> _Error:
        """pydantic's location has the members of unions in between: leave them out of the path."""
        path: KeyPath = ()
        union, member = None, ""
        here: Any = self.data
        for i, key in enumerate(raw["loc"]):
            last = i == len(raw["loc"]) - 1
            is_tag = isinstance(here, Mapping) and key == here.get("kind") and not last
            if isinstance(here, Mapping):
                real = (key in here and not is_tag) or (last and raw["type"] == "missing")
            else:
                real = isinstance(here, list | tuple) and isinstance(key, int)
            if real:
                here, path = step(here, key), (*path, key)
            elif union is None and not is_tag:  # a tag has chosen its member: there are no rivals
                union, member = path, str(key)
        return _Error(path, union, member, raw["type"], raw["input"], raw.get("ctx", {}), raw["msg"])

    def one_member_each(self, errors: list[_Error]) -> list[_Error]:
        """Of the members of one union that all refuse a value, the one it was most likely meant for."""
        kept: list[_Error] = []
        done: set[KeyPath] = set()
        for e in errors:
            if e.union is None:
                kept.append(e)
            elif e.union not in done:
                done.add(e.union)
                kept += self.best_member([o for o in errors if o.union == e.union])
        return kept

    def best_member(self, errors: list[_Error]) -> list[_Error]:
        members: dict[str, list[_Error]] = {}
        for e in errors:
            members.setdefault(e.member, []).append(e)
        # A member that takes a mapping or a list complains about what is in it, any other about all of it.
        taking = [found for found in members.values() if any(e.path != e.union for e in found)]
        if taking:
            return min(taking, key=len)
        first, *others = errors
        return [replace(first, rivals=tuple(others))] if len(members) > 1 else errors

    def text(self, e: _Error) -> str:
        if e.type == "missing":
            return "required key is missing" + self.about(e.path)
        if e.type == "extra_forbidden":
            near = self.near_key(e.path)
            owner = spec_at(self.spec, self.data, e.path[:-1])
            hint = f"did you mean {near!r}?" if near else f"valid: {_keys(owner)}"
            return f"unknown key, found {str(e.path[-1])!r}; {hint}"
        if e.type in _KIND:
            kinds = kinds_at(self.spec, self.data, e.path)
            kind = at(self.data, (*e.path, "kind"))
            if e.type == "union_tag_not_found":
                return f"required key is missing: {_either(kinds)}"
            return f"unknown kind, found {quote(kind)}; must be {_either(kinds)}{_meant(kind, kinds)}"
        if e.type in ("value_error", "assertion_error"):
            return str(e.context.get("error", e.message))
        members = (e, *e.rivals)
        right = " or ".join(dict.fromkeys(self.right(m) for m in members)).replace(" or must be ", " or ")
        words = [word for m in members for word in _words(m)]
        return f"found {quote(e.input)}; {right}{_meant(e.input, words)}"

    def right(self, e: _Error) -> str:
        """What the value should have been."""
        bounds = " and ".join(f"{_BOUNDS[k]} {_number(v)}" for k, v in self.bounds(e).items())
        if e.type in _RANGE:
            return f"must be {bounds}"
        if e.type == "literal_error":
            return f"must be {_either(_words(e))}"
        if e.type in _MAPPING:
            return f"must be a mapping{self.mapping_hint(e)}"
        if e.type == "value_error":
            return str(e.context.get("error", e.message))
        if e.type == "string_type":
            return "must be text" + (", in quotes" if isinstance(e.input, int | float) else "")
        if e.type == "string_pattern_mismatch":
            return f"must match {e.context['pattern']}{self.about(e.path)}"
        if e.type == "too_short":
            return f"must have at least {e.context['min_length']} of them"
        what = _TYPES.get(e.type.split("_")[0])
        if what is None:
            return e.message[:1].lower() + e.message[1:]
        return f"must be {what}" + (f", {bounds}" if bounds else "")

    def mapping_hint(self, e: _Error) -> str:
        kinds = kinds_at(self.spec, self.data, e.path)
        if isinstance(e.input, str) and e.input in kinds:
            return f", as {{kind: {e.input}}}"
        if kinds:
            return f" with a kind: {_either(kinds)}"
        owner = spec_at(self.spec, self.data, e.path)
        return f" with the keys {_keys(owner)}" if owner else ""

    def near_key(self, path: KeyPath) -> str | None:
        """The valid key an unknown one was meant to be: beside it, or in a section of the top."""
        owner, key = spec_at(self.spec, self.data, path[:-1]), str(path[-1])
        if owner is None:
            return None
        near = nearest(key, owner.model_fields)
        if near is None and len(path) == 1:
            for section in owner.model_fields:
                below = spec_at(self.spec, self.data, (section,))
                if below is not None and key in below.model_fields:
                    return f"{section}.{key}"
        return near

    def about(self, path: KeyPath) -> str:
        owner = spec_at(self.spec, self.data, path[:-1])
        field = owner.model_fields.get(str(path[-1])) if owner else None
        return f": {field.description}" if field and field.description else ""

    def bounds(self, e: _Error) -> dict[str, float]:
        """The whole range: pydantic names only the end that was crossed."""
        owner = spec_at(self.spec, self.data, e.path[:-1]) if e.path else None
        field = owner.model_fields.get(str(e.path[-1])) if owner else None
        rules = field.metadata if field else []
        found = {k: getattr(r, k) for r in rules for k in _BOUNDS if getattr(r, k, None) is not None}
        return found or {k: v for k, v in e.context.items() if k in _BOUNDS}


def _below(path: KeyPath, other: KeyPath) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _keys(owner: type[Spec] | None) -> str:
    return ", ".join(owner.model_fields) if owner else "none"


def _words(e: _Error) -> list[str]:
    """The valid words of a literal."""
    if e.type != "literal_error":
        return []
    return [w.strip("' ") for w in str(e.context["expected"]).replace(" or ", ", ").split(", ")]


def _meant(found: Any, words: list[str]) -> str:
    near = nearest(str(found), words)
    return f"; did you mean {near!r}?" if near else ""


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
