"""Downloads from a server on this machine that breaks off, refuses, lies and asks to wait."""

import hashlib
import io
import json
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_server import Page, Server, serving
from PIL import Image

from compress.__main__ import main
from compress.data.download import http
from compress.data.download.fetch import TACO, TRASHNET, _images, _licence, fetch
from compress.data.download.http import DownloadError, NoAnswerError, Remote, get, get_all, session
from compress.data.download.unzip import unpack
from compress.errors import CompressError, InputError

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 700_000, dtype=np.uint8))
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"/a.jpg": Page(CONTENT)}) as running:
        yield running


def hidden(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob(".*"))


def test_a_dropped_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.pages["/a.jpg"].drop = [300_000, 200_000]
    came: list[int] = []
    assert get(
        session(), Remote(f"{server.url}/a.jpg", tmp_path / "x" / "a.jpg", SHA, len(CONTENT)), came.append
    )
    assert (tmp_path / "x" / "a.jpg").read_bytes() == CONTENT
    first, second, third = server.asked["/a.jpg"]
    assert first == ""
    assert 300_000 - 2**14 < int(second[6:-1]) <= 300_000
    assert 500_000 - 2**15 < int(third[6:-1]) <= 500_000
    assert sum(came) == len(CONTENT)
    assert hidden(tmp_path) == []
    assert not get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "x" / "a.jpg", SHA))
    assert len(server.asked["/a.jpg"]) == 3


def test_what_a_killed_run_left_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    tag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    (tmp_path / ".a.jpg.part").write_bytes(CONTENT[:1000])
    (tmp_path / ".a.jpg.version").write_text(tag)
    get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg"))
    assert server.asked["/a.jpg"] == ["bytes=1000-"]
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize("version", ['"an older one"', None])
def test_another_or_unknown_version_is_fetched_whole(
    version: str | None, server: Server, tmp_path: Path
) -> None:
    (tmp_path / ".a.jpg.part").write_bytes(b"x" * 1000)
    if version:
        (tmp_path / ".a.jpg.version").write_text(version)
    get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg"))
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT
    assert hidden(tmp_path) == []


def test_a_left_over_that_is_too_long_is_fetched_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".a.jpg.part").write_bytes(CONTENT + b"more")
    (tmp_path / ".a.jpg.version").write_text(f'"{hashlib.md5(CONTENT).hexdigest()}"')
    get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg"))
    assert server.asked["/a.jpg"] == [f"bytes={len(CONTENT) + 4}-", ""]
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize("change", [{"ranges": False}, {"tag": False}])
def test_a_server_that_cannot_resume_starts_again(
    change: dict[str, Any], server: Server, tmp_path: Path
) -> None:
    server.pages["/a.jpg"] = Page(CONTENT, drop=[300_000], **change)
    get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg", SHA))
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


def test_one_that_always_breaks_off_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server.pages["/a.jpg"].drop = [40_000] + [0] * 20
    with pytest.raises(DownloadError, match="broke off 5 times"):
        get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg"))
    assert not (tmp_path / "a.jpg").exists()
    server.pages["/a.jpg"].drop = []
    get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg"))
    assert server.asked["/a.jpg"][-1] == f"bytes={2**15}-"
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


def test_a_wrong_hash_or_size_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"wrong sha256 {SHA}, its source says {'0' * 64}"):
        get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg", "0" * 64))
    with pytest.raises(DownloadError, match="700000 bytes came, its source says 5"):
        get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg", size=5))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.jpg").write_bytes(b"what was there before")
    get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg", SHA))
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


def test_too_many_requests_waits_as_long_as_asked(server: Server, tmp_path: Path) -> None:
    server.pages["/a.jpg"].status, server.pages["/a.jpg"].retry_after = [429], "1"
    began = time.monotonic()
    get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg", SHA))
    assert time.monotonic() - began >= 1
    assert len(server.asked["/a.jpg"]) == 2


def test_no_wait_is_endless(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_LONGEST_WAIT", 0.01)
    server.pages["/a.jpg"].status, server.pages["/a.jpg"].retry_after = [503] * 9, "3600"
    with pytest.raises(DownloadError, match="503 Service Unavailable"):
        get(session(), Remote(f"{server.url}/a.jpg", tmp_path / "a.jpg"))
    assert len(server.asked["/a.jpg"]) == 6


def test_lost_photos_are_told_from_photos(server: Server, tmp_path: Path) -> None:
    server.pages["/page.jpg"] = Page(b"<html>", kind="text/html")
    server.pages["/old.jpg"] = Page(to="/photo_unavailable.png")
    server.pages["/photo_unavailable.png"] = Page(b"a grey picture", kind="image/png")
    server.pages["/moved.jpg"] = Page(to="/a.jpg")
    names = ("none.jpg", "page.jpg", "old.jpg", "moved.jpg", "a.jpg")
    steps: list[int] = []
    failed = get_all(
        [Remote(f"{server.url}/{name}", tmp_path / name, photo=True) for name in names], 3, steps.append
    )
    assert {path.name: why for path, why in failed.items()} == {
        "none.jpg": "404 Not Found",
        "page.jpg": "no picture: the server sent text/html",
        "old.jpg": f"the photo is gone: the server sent {server.url}/photo_unavailable.png",
    }
    assert {p.name for p in tmp_path.iterdir()} == {"moved.jpg", "a.jpg"}
    assert steps == [1] * 5


def test_an_empty_answer_is_no_photo(server: Server, tmp_path: Path) -> None:
    server.pages["/empty.jpg"] = Page(b"")
    file = Remote(f"{server.url}/empty.jpg", tmp_path / "empty.jpg", photo=True)
    assert get_all([file], 1) == {file.path: "the server sent an empty file"}
    assert list(tmp_path.iterdir()) == []
    server.pages["/empty.jpg"] = Page(CONTENT)
    assert get_all([file], 1) == {}


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_RETRIES", 0)
    with serving({}) as gone:
        url = gone.url
    with pytest.raises(NoAnswerError, match="Connection refused"):
        get(session(), Remote(f"{url}/a.jpg", tmp_path / "a.jpg"))
    files = [Remote(f"{url}/{i}", tmp_path / str(i)) for i in range(500)]
    began = time.monotonic()
    with pytest.raises(NoAnswerError, match="the first 12 files find no server"):
        get_all(files, 4)
    assert time.monotonic() - began < 20


def taco(server: Server, **more: Any) -> bytes:
    images = [
        {"id": i, "file_name": f"batch_1/{i}.jpg", "flickr_url": f"{server.url}/{i}_o.png",
         "flickr_640_url": f"{server.url}/{i}_z.jpg" if i % 2 else None, "license": "CC" if i else None}
        for i in range(4)
    ]  # fmt: skip
    images[3].update(more)
    for i in range(4):
        server.pages[f"/{i}_o.png"] = Page(b"original %d" % i, kind="image/png")
        server.pages[f"/{i}_z.jpg"] = Page(b"small %d" % i)
    return json.dumps({"images": images, "annotations": [], "categories": []}).encode()


def test_taco_s_photos(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.pages["/annotations.json"] = Page(taco(server), kind="application/json")
    del server.pages["/2_o.png"]
    args = ["data", "download", "taco", str(tmp_path / "new"), "--source", f"{server.url}/annotations.json"]
    assert main(args) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "the annotations are under CC BY 4.0" in lines[0]
    assert "each under its own licence" in lines[1]
    assert lines[2] == "licences of the photos: CC 3, none named 1"
    assert f"failed {tmp_path}/new/batch_1/2.jpg: 404 Not Found ({server.url}/2_o.png)" in lines
    assert lines[-1] == f"3 of 4 photos are in {tmp_path}/new"
    assert said.err == "error: 1 of 4 photos could not be had: 2.jpg; the same command tries these again\n"
    assert (tmp_path / "new/batch_1/1.jpg").read_bytes() == b"original 1"

    before = {path: len(asked) for path, asked in server.asked.items()}
    server.pages["/2_o.png"] = Page(b"late", kind="image/png")
    assert main(args) == 0
    asked = {path for path, ranges in server.asked.items() if len(ranges) > before.get(path, 0)}
    assert asked == {"/2_o.png"}
    assert (tmp_path / "new/batch_1/2.jpg").read_bytes() == b"late"


def test_taco_s_small_copies_and_a_file_of_one_s_own(server: Server, tmp_path: Path) -> None:
    own = tmp_path / "mine.json"
    own.write_bytes(taco(server, flickr_640_url=None, flickr_url=None))
    with pytest.raises(CompressError, match=r"1 of 4 photos could not be had: 3\.jpg"):
        list(fetch("taco", tmp_path / "new", source=str(own), size="640"))
    read = {p.name: p.read_bytes() for p in (tmp_path / "new/batch_1").iterdir()}
    assert read == {"0.jpg": b"original 0", "1.jpg": b"small 1", "2.jpg": b"original 2"}


def test_another_size_needs_another_folder(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "mine.json"
    own.write_bytes(taco(server))
    lost = server.pages.pop("/0_o.png")  # so that the run breaks off
    args = ["data", "download", "taco", str(tmp_path / "new"), "--source", str(own)]
    assert main([*args, "--size", "640"]) == 1
    server.pages["/0_o.png"] = lost
    capsys.readouterr()
    asked = {path: len(ranges) for path, ranges in server.asked.items()}
    assert main(args) == 2
    assert capsys.readouterr().err == (
        f"{tmp_path}/new: fetched with --size 640, now asked for with --size original; name another folder\n"
    )
    assert {path: len(ranges) for path, ranges in server.asked.items()} == asked
    assert main([*args, "--size", "640"]) == 0
    read = {p.name: p.read_bytes() for p in (tmp_path / "new/batch_1").iterdir()}
    assert read["1.jpg"] == b"small 1"
    assert len(read) == 4
    args[3] = str(tmp_path / "originals")
    assert main(args) == 0
    assert (tmp_path / "originals/batch_1/1.jpg").read_bytes() == b"original 1"


def test_another_source_needs_another_folder(server: Server, tmp_path: Path) -> None:
    first, other = f"{server.url}/annotations.json", f"{server.url}/other/annotations.json"
    server.pages["/annotations.json"] = Page(taco(server), kind="application/json")
    server.pages["/other/annotations.json"] = server.pages["/annotations.json"]
    list(fetch("taco", tmp_path / "new", source=first))
    with pytest.raises(
        InputError, match=f"new: fetched with --source {first}, now asked for with --source {other}; name"
    ):
        list(fetch("taco", tmp_path / "new", source=other))
    with pytest.raises(InputError, match="now asked for with no --source; name another"):
        list(fetch("taco", tmp_path / "new"))
    archive(tmp_path / "small.zip")
    with pytest.raises(
        InputError, match=r"fetched with taco, --source .*, now asked for with trashnet, --source .*small"
    ):
        list(fetch("trashnet", tmp_path / "new", source=str(tmp_path / "small.zip")))
    assert not server.asked["/other/annotations.json"]
    (tmp_path / "new/download.json").write_text("[]")
    with pytest.raises(InputError, match=r"download\.json: damaged; name another folder"):
        list(fetch("taco", tmp_path / "new", source=first))


def test_folders_of_older_versions_and_those_without_a_file_yet_are_as_before(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "odd.json").write_text("[]")
    with pytest.raises(InputError, match="not TACO's annotation file"):
        list(fetch("taco", tmp_path / "new", source=str(tmp_path / "odd.json")))
    own = tmp_path / "mine.json"
    own.write_bytes(taco(server))
    list(fetch("taco", tmp_path / "new", source=str(own)))  # nothing had come of the wrong file
    (tmp_path / "new/download.json").unlink()
    list(fetch("taco", tmp_path / "new", source=str(own), size="640"))
    assert not (tmp_path / "new/download.json").exists()


def test_licences_named_by_their_id(server: Server, tmp_path: Path) -> None:
    content = json.loads(taco(server, license=4))
    content["images"][2]["license"] = 0
    own = tmp_path / "coco.json"
    own.write_text(json.dumps({**content, "licenses": [{"id": 0, "name": "BY"}, {"id": 4, "name": "BY-SA"}]}))
    lines = list(fetch("taco", tmp_path / "new", source=str(own)))
    assert "licences of the photos: none named 1, CC 1, BY 1, BY-SA 1" in lines


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a/../../x", "C:\\x.jpg", "..\\x.jpg", "", 7])
def test_names_that_lead_out_of_the_folder_are_refused(name: object, server: Server, tmp_path: Path) -> None:
    own = tmp_path / "mine.json"
    own.write_bytes(taco(server, file_name=name))
    with pytest.raises(InputError, match="outside of its folder"):
        list(fetch("taco", tmp_path / "new", source=str(own)))
    assert not server.asked


def test_other_wrong_input(server: Server, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("[]")
    for options, said in (
        ({"name": "coco"}, "must be taco or trashnet"),
        ({"name": "taco", "size": "320"}, "must be original or 640"),
        ({"name": "trashnet", "size": "640"}, "only taco has two"),
        ({"name": "taco", "source": "none.json"}, "no such file"),
        ({"name": "taco", "source": str(tmp_path / "odd.json")}, "not TACO's annotation file"),
        ({"name": "trashnet", "source": str(tmp_path / "odd.json")}, "odd.json: not a zip; give TrashNet's"),
    ):
        with pytest.raises(InputError, match=said):
            list(fetch(out=tmp_path / "new", **options))


def archive(path: Path, compression: int = zipfile.ZIP_STORED) -> dict[str, int]:
    """TrashNet's layout in small, with what macOS adds."""
    numbers = {"glass": 37, "trash": 23}
    with zipfile.ZipFile(path, "w", compression) as out:
        for label, count in numbers.items():
            for n in range(1, count + 1):
                buffer = io.BytesIO()
                Image.new("RGB", (8, 6), (n, 5, 9)).save(buffer, "JPEG")
                out.writestr(f"dataset-resized/{label}/{label}{n}.jpg", buffer.getvalue())
                out.writestr(f"__MACOSX/dataset-resized/{label}/._{label}{n}.jpg", b"x")
        out.writestr("dataset-resized/.DS_Store", b"x")
        out.writestr("dataset-resized/../../glass/glass999.jpg", b"x")  # lands in its class, not above
    return numbers


def test_trashnet_keeps_shots_in_a_row_together(tmp_path: Path) -> None:
    numbers = archive(tmp_path / "small.zip")
    lines = list(fetch("trashnet", tmp_path / "set", source=str(tmp_path / "small.zip")))
    assert "MIT licence" in lines[0]
    homes: dict[tuple[str, int], set[str]] = {}
    counts: Counter[str] = Counter()
    for path in (tmp_path / "set").rglob("*.jpg"):
        split, label, name = path.relative_to(tmp_path / "set").parts
        number = int(name.removeprefix(label).removesuffix(".jpg"))
        homes.setdefault((label, (number - 1) // 5), set()).add(split)
        counts[split] += 1
    assert all(len(splits) == 1 for splits in homes.values())
    assert counts.total() == sum(numbers.values()) + 1
    assert 0.1 < counts["test"] / counts.total() < 0.3
    assert lines[-1] == (
        f"{counts['train']} photos in {tmp_path}/set/train, {counts['test']} in test: glass, trash"
    )
    some = next((tmp_path / "set" / "train").rglob("*.jpg"))
    content = some.read_bytes()
    some.write_bytes(content[:100])
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "set").rglob("*.jpg")}
    list(unpack(tmp_path / "small.zip", tmp_path / "set"))
    assert some.read_bytes() == content
    assert [p for p, t in before.items() if p.stat().st_mtime_ns != t] == [some]


def test_another_zip_than_trashnet_s_is_refused(server: Server, tmp_path: Path) -> None:
    archive(tmp_path / "small.zip")
    data = (tmp_path / "small.zip").read_bytes()
    server.pages["/small.zip"] = Page(data, kind="application/zip")
    assert list(fetch("trashnet", tmp_path / "new", source=f"{server.url}/small.zip"))
    with pytest.raises(DownloadError, match="its source says 42834870"):
        get(session(), Remote(f"{server.url}/small.zip", tmp_path / "x.zip", TRASHNET.sha256, TRASHNET.size))
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as out:
        out.writestr("photos/1.jpg", b"x")
    with pytest.raises(InputError, match="not TrashNet's zip"):
        list(unpack(tmp_path / "odd.zip", tmp_path / "odd"))
    at = data.index(b"\xff\xd8")
    (tmp_path / "bad.zip").write_bytes(data[: at + 50] + b"\0\0\0\0" + data[at + 54 :])
    with pytest.raises(InputError, match=r"bad\.zip: damaged \(.*\); give TrashNet's zip"):
        list(fetch("trashnet", tmp_path / "bad", source=str(tmp_path / "bad.zip")))
    server.pages["/bad.zip"] = Page((tmp_path / "bad.zip").read_bytes(), kind="application/zip")
    with pytest.raises(CompressError, match=r"damaged .*; delete it and run again") as caught:
        list(fetch("trashnet", tmp_path / "got", source=f"{server.url}/bad.zip"))
    assert not isinstance(caught.value, InputError)  # what we fetched is not the user's mistake


def test_a_compressed_zip_that_is_damaged_is_told_as_one(server: Server, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    archive(bad, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(bad) as whole:
        member = whole.getinfo("dataset-resized/glass/glass12.jpg")
    data = bytearray(bad.read_bytes())
    data[member.header_offset + 30 + len(member.filename)] = 0xFF  # no such kind of deflated block
    bad.write_bytes(data)
    with pytest.raises(InputError, match=r"bad\.zip: damaged \(.*decompressing.*\); give TrashNet's zip"):
        list(fetch("trashnet", tmp_path / "set", source=str(bad)))
    server.pages["/bad.zip"] = Page(bytes(data), kind="application/zip")
    with pytest.raises(CompressError, match=r"damaged .*; delete it and run again") as caught:
        list(fetch("trashnet", tmp_path / "got", source=f"{server.url}/bad.zip"))
    assert not isinstance(caught.value, InputError)


def test_the_annotation_file_at_hand_is_the_one_that_is_named(shared_data: Path) -> None:
    """The hash in the table is that of the real file."""
    path = shared_data / "taco" / "annotations.json"
    assert http.there(Remote(TACO.url, path, TACO.sha256, TACO.size))
    images, names = _images(path)
    assert names == {}  # it states licences by name, and of half of the photos none
    counts = Counter(_licence(image["license"], names) for image in images)
    assert counts == {"none named": 715, "ODBL (c) OpenLitterMap & Contributors": 466, "CC": 319}
