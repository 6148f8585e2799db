"""The YAML reader: values, line numbers, duplicate keys, and one line for whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from compress import yamlio
from compress.errors import InputError

RECIPE = """\
# a comment
name: x

data:
  kind: folder
  root: photos
stages:
  - {kind: prune,
     target: 0.5}
  - kind: quantize
"""


def problem(text: str) -> str:
    with pytest.raises(InputError) as caught:
        yamlio.parse(text, "f.yaml")
    (line,) = caught.value.problems
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        (".inf", float("inf")),
        ("12", 12),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!float 3", 3.0),
        ("[1, a, {b: 1e-3}]", [1, "a", {"b": 1e-3}]),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = yamlio.parse(f"k: {text}").data["k"]
    assert found == value
    assert type(found) is type(value)
    assert yamlio.scalar(text) == value


def test_keys_are_text() -> None:
    assert yamlio.parse("{1: a, on: b, null: c, 1.5: d}").data == {
        "1": "a",
        "on": "b",
        "null": "c",
        "1.5": "d",
    }


def test_line_of_points_at_keys_items_and_nearest_parents() -> None:
    located = yamlio.parse(RECIPE)
    lines = {
        ("name",): 2,
        ("data",): 4,
        ("data", "root"): 6,
        ("stages", 0): 8,
        ("stages", 0, "kind"): 8,
        ("stages", 0, "target"): 9,
        ("stages", 1): 10,
        ("stages", 1, "bits"): 10,  # absent: where its mapping starts
        ("stages", 7): 7,
        ("nowhere", "at", "all"): 2,
    }
    assert {path: located.line_of(path) for path in lines} == lines


def test_all_duplicate_keys_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: 1\nb: {c: 1, c: 2}\na: 2\nl:\n  - d: 1\n    d: 2\n    d: 3\n")
    with pytest.raises(InputError) as caught:
        yamlio.read(path)
    assert caught.value.problems == (
        f"{path}:2: b.c: duplicate key, first given in line 2",
        f"{path}:3: a: duplicate key, first given in line 1",
        f"{path}:6: l[0].d: duplicate key, first given in line 5",
        f"{path}:7: l[0].d: duplicate key, first given in line 5",
    )
    located = yamlio.read_located(path)
    assert located.data["a"] == 2
    assert located.line_of(("a",)) == 3


def test_anchors_give_copies_and_merges_can_be_overridden() -> None:
    located = yamlio.parse(
        "base: &b {x: 1, y: 2}\nsame: *b\nmore:\n  <<: *b\n  y: 3\nboth: {<<: [{x: 5}, *b]}\n"
    )
    data = located.data
    assert data["more"] == {"x": 1, "y": 3}
    assert data["both"] == {"x": 5, "y": 2}
    assert data["same"] == data["base"]
    assert data["same"] is not data["base"]
    assert located.line_of(("more", "x")) == 1
    assert located.line_of(("more", "y")) == 5
    assert not located.duplicates


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yaml: empty, expected a mapping"),
        ("# only a comment\n", "f.yaml: empty, expected a mapping"),
        ("\n- a\n", "f.yaml:2: expected a mapping of keys to values, found a list"),
        ("just text", "f.yaml:1: expected a mapping of keys to values, found 'just text'"),
        ("a: 1\nb: [1, 2\n", "f.yaml:3: not valid YAML: while parsing a flow sequence"),
        ("a: 1\n\tb: 2\n", "f.yaml:2: not valid YAML"),
        ("a: *nothing", "f.yaml:1: not valid YAML: found undefined alias 'nothing'"),
        ("a: 1\n---\nb: 1\n", "f.yaml:2: not valid YAML: expected a single document"),
        ("a: 1\nb: \x00\n", "f.yaml:2: not valid YAML: character U+0000 is not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "f.yaml:1: the tag '!!python/object/apply:os.system'"),
        ("a: 1\nb: !!int x", "f.yaml:2: 'x' is not an int"),
        ("a: 1\nb: &b [*b]", "f.yaml:2: an alias refers to what contains it"),
        ("a: {? [1, 2] : 3}", "f.yaml:1: a key must be text"),
        ("a: {<<: 3}", "f.yaml:1: << takes a mapping"),
        ("a: " + "[" * 5000, "f.yaml: nested too deep"),
    ],
)
def test_what_is_wrong_is_one_line(text: str, said: str) -> None:
    assert problem(text).startswith(said)


def test_aliases_of_aliases_are_bounded() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for here, before in zip("bcdefghi", "abcdefgh", strict=True):
        bomb += f"{here}: &{here} [{', '.join([f'*{before}'] * 9)}]\n"
    assert "aliases expand to more than" in problem(bomb)


def test_unreadable_files(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nname: café\n".encode("latin-1"))
    cases = {
        tmp_path / "absent.yaml": ": no such file",
        tmp_path: ": a folder, expected a YAML file",
        latin: ":2: not UTF-8 text: byte 0xe9",
        latin / "below": ": cannot be read: Not a directory",
        Path("zero\0byte"): ": cannot be read",
    }
    for path, said in cases.items():
        with pytest.raises(InputError) as caught:
            yamlio.read(path)
        (line,) = caught.value.problems
        assert line.startswith(f"{path}{said}")


def test_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: x\r\n")
    assert yamlio.read(path) == {"a": 1, "b": "x"}
    assert yamlio.read_located(str(path)).line_of(("b",)) == 2


def test_agrees_with_a_plain_loader_on_public_model_files(model_yaml: Path) -> None:
    files = sorted(model_yaml.glob("*.yaml"))
    assert files
    for path in files:
        assert yamlio.read(path) == yaml.safe_load(path.read_text())


texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20) | st.sampled_from(
    ["1e-3", "no", "~", "<<", "0o7", "1_0", "", " x", "=", "-", ".nan", "2024-01-01", "a: b", "# c", "\x85"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, min_size=1, max_size=5))
def test_dump_reads_back(data: dict[str, object]) -> None:
    back = yamlio.parse(yamlio.dump(data)).data
    assert back == data
    assert list(back) == list(data)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), values, min_size=1, max_size=6))
def test_line_of_is_the_line_the_key_stands_in(data: dict[str, object]) -> None:
    text = yamlio.dump(data)
    located = yamlio.parse(text)
    lines = text.split("\n")
    for key in data:
        assert lines[located.line_of((key,)) - 1].startswith((f"{key}:", f"'{key}':"))
