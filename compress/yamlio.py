"""The only YAML reader and writer: safe, every line number known, duplicate keys refused.

Scalars follow YAML 1.2's core schema, so ``1e-3`` is a number, and ``no``, ``off``, ``1:30``,
``010`` and ``2024-01-01`` are not turned into a boolean, minutes, an octal number or a date.
Keys are always text. Anchors, aliases and ``<<`` merges work; tags that make objects do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from compress.errors import InputError

KeyPath = tuple[str | int, ...]

MAX_NODES = 200_000  # aliases of aliases grow without bound ("billion laughs")

_CORE = "tag:yaml.org,2002:"
_SCALARS = (  # tag, pattern, first characters: the core schema of YAML 1.2, section 10.3.2
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)


class _Loader(
    yaml.reader.Reader,
    yaml.scanner.Scanner,
    yaml.parser.Parser,
    yaml.composer.Composer,
    yaml.resolver.BaseResolver,
):
    """Text to a tree of nodes; there is no constructor, so nothing in a file can make an object."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        yaml.resolver.BaseResolver.__init__(self)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 *or* our reader would take for something other than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> Any:
        # PyYAML writes these line breaks as they are, and reads them back as a space
        style = '"' if re.search("[\x85\u2028\u2029]", data) else None
        return self.represent_scalar(_CORE + "str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)


for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_CORE + _tag, re.compile(rf"(?:{_pattern})\Z"), _first)


@dataclass(frozen=True)
class Located:
    """What a file says, and where.

    Attributes:
        data: the mapping at the top, of plain dicts, lists and scalars; nothing in it is shared.
        name: what to call the source in messages.
        duplicates: key path, line and line of the first one, for each key given twice.
    """

    data: dict[str, Any]
    name: str
    root: Node
    duplicates: tuple[tuple[KeyPath, int, int], ...] = ()

    def line_of(self, path: KeyPath) -> int:
        """1-based line of the key (or list item) at ``path``, or of its nearest parent in the file."""
        node, line = self.root, self.root.start_mark.line + 1
        for key in path:
            found = _child(node, key)
            if found is None:
                break
            node, line = found
        return line

    def problems(self) -> list[str]:
        """One line for each duplicate key."""
        return [
            f"{self.name}:{line}: {show(path)}: duplicate key, first given in line {first}"
            for path, line, first in self.duplicates
        ]


def show(path: KeyPath) -> str:
    """``("stages", 0, "target")`` as ``stages[0].target``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def read(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: no such file, not UTF-8, empty, not YAML, not a mapping, or duplicate keys.
    """
    located = read_located(path)
    if located.duplicates:
        raise InputError(located.problems())
    return located.data


def read_located(path: str | Path) -> Located:
    """The same with line numbers; duplicate keys are listed in the result instead of raised
    (the last one counts), so that a caller can report them with what else is wrong."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, expected a YAML file") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8 text: byte 0x{error.object[error.start]:02x}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse(text, str(path))


def parse(text: str, name: str = "<text>") -> Located:
    """The mapping in a YAML text; ``name`` stands for the file in messages."""
    root = _compose(text, name)
    if root is None:
        raise InputError(f"{name}: empty, expected a mapping of keys to values")
    if not isinstance(root, MappingNode):
        found = "a list" if isinstance(root, SequenceNode) else f"{scalar(root.value, name)!r}"
        raise InputError(
            f"{name}:{root.start_mark.line + 1}: expected a mapping of keys to values, found {found}"
        )
    build = _Build(name)
    try:
        data = build.value(root, ())
    except RecursionError:
        raise InputError(f"{name}: nested too deep") from None
    return Located(data, name, root, tuple(build.duplicates))


def scalar(text: str, name: str = "<text>") -> Any:
    """Any YAML value, as on the right of ``--set key=value``; ``name`` stands for it in messages."""
    root = _compose(text, name)
    if root is None:
        return None
    build = _Build(name)
    value = build.value(root, ())
    if build.duplicates:
        raise InputError([f"{name}: {show(path)}: duplicate key" for path, _, _ in build.duplicates])
    return value


def dump(data: Any) -> str:
    """Block-style YAML that ``read`` gives back as it was; keys keep their order."""
    text: str = yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=False
    )
    return text


def _compose(text: str, name: str) -> Node | None:
    loader = None
    try:
        loader = _Loader(text)
        node: Node | None = loader.get_single_node()
        return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise InputError(f"{where}: not valid YAML: {' '.join(said.split())}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise InputError(
            f"{name}:{line}: not valid YAML: character U+{error.character:04X} is not allowed"
        ) from None
    except RecursionError:
        raise InputError(f"{name}: nested too deep") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Build:
    """Nodes to fresh Python values: an alias gives a copy, so changing one place changes one place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.open: list[Node] = []
        self.duplicates: list[tuple[KeyPath, int, int]] = []

    def value(self, node: Node, path: KeyPath) -> Any:
        self.count += 1
        if self.count > MAX_NODES:
            raise self.error(node, f"its aliases expand to more than {MAX_NODES} values")
        if any(node is outer for outer in self.open):
            raise self.error(node, "an alias refers to what contains it")
        if isinstance(node, ScalarNode):
            return self.scalar(node)
        self.open.append(node)
        try:
            if isinstance(node, SequenceNode) and node.tag == _CORE + "seq":
                return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            if isinstance(node, MappingNode) and node.tag == _CORE + "map":
                return self.mapping(node, path)
        finally:
            self.open.pop()
        raise self.tag_error(node)

    def mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _CORE + "merge":
                for source in reversed(_merged(value_node)):  # the first of several wins
                    if not isinstance(source, MappingNode):
                        raise self.error(key_node, "<< takes a mapping or a list of mappings")
                    merged.update(self.value(source, path))
                continue
            if not isinstance(key_node, ScalarNode):
                raise self.error(key_node, "a key must be text, found a list or a mapping")
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in own:
                self.duplicates.append(((*path, key), line, lines[key]))
            lines.setdefault(key, line)
            own[key] = self.value(value_node, (*path, key))
        return {**merged, **own}

    def scalar(self, node: ScalarNode) -> Any:
        kind, text = node.tag.removeprefix(_CORE), node.value
        try:
            if kind in ("str", "merge"):
                return text
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            if kind == "float":
                return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))
        except (ValueError, KeyError):
            raise self.error(node, f"{text!r} is not {'an' if kind == 'int' else 'a'} {kind}") from None
        raise self.tag_error(node)

    def tag_error(self, node: Node) -> InputError:
        return self.error(node, f"the tag {node.tag.replace(_CORE, '!!')!r} is not allowed")

    def error(self, node: Node, message: str) -> InputError:
        return InputError(f"{self.name}:{node.start_mark.line + 1}: {message}")


def _merged(node: Node) -> list[Node]:
    return list(node.value) if isinstance(node, SequenceNode) else [node]


def _child(node: Node, key: str | int) -> tuple[Node, int] | None:
    """The node under ``key`` and the line it is given in."""
    if isinstance(node, SequenceNode) and isinstance(key, int) and 0 <= key < len(node.value):
        item: Node = node.value[key]
        return item, item.start_mark.line + 1
    found = None
    if isinstance(node, MappingNode):
        for key_node, value_node in _pairs(node):
            if key_node.value == str(key):
                found = value_node, key_node.start_mark.line + 1
    return found


def _pairs(node: Node) -> Iterator[tuple[Node, Node]]:
    """Key and value nodes of a mapping, merged ones first: the later of two counts."""
    for key_node, value_node in node.value:
        if key_node.tag == _CORE + "merge":
            for source in reversed(_merged(value_node)):
                yield from _pairs(source)
    for key_node, value_node in node.value:
        if key_node.tag != _CORE + "merge":
            yield key_node, value_node
