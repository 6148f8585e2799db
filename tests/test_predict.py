import io
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import compress
from compress.__main__ import main
from compress.data.decode import decode
from compress.errors import InputError
from compress.net import Net, Preprocess
from compress.predict import load
from compress.runtimes.deploy import export_net
from compress.runtimes.kinds import BY_KIND, installed

ROOT = Path(__file__).resolve().parents[1]
SIZE = 24
LABELS = ("red", "green", "blue")
KINDS = [kind for kind, cls in BY_KIND.items() if cls in installed()]


class Colour(nn.Module):
    """Logits are the mean of each colour channel: its answers can be told beforehand."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(4 * torch.eye(3).view(3, 3, 1, 1))

    def forward(self, x):
        return self.layer(x).mean((2, 3))


@pytest.fixture(scope="module", params=KINDS)
def run_folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "colours"
    net = Net(Colour(), Preprocess(SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), LABELS)
    export_net(net, BY_KIND[request.param](), folder / "artifact")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """One photo a colour, none of them square or at the model's size."""
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for i, (label, size) in enumerate(zip(LABELS, [(60, 40), (40, 90), (200, 200)], strict=True)):
        pixels = np.full((*size, 3), 40, np.uint8)
        pixels[..., i] = 220
        paths.append(folder / f"{label}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_labels_and_probabilities(run_folder, photos):
    model = load(run_folder)
    assert model.labels == LABELS
    assert model.size == SIZE
    got = model.predict(photos)
    assert [label for label, _ in got] == list(LABELS)
    logits = 4 * np.array([220, 40, 40]) / 255
    want = np.exp(logits[0]) / np.exp(logits).sum()
    assert [p for _, p in got] == pytest.approx([want] * 3, abs=1e-4)
    assert all(type(label) is str and type(p) is float for label, p in got)
    assert model.probabilities(photos).sum(1) == pytest.approx(1.0)


def test_a_run_folder_its_artifact_and_the_top_level_name_are_one(run_folder, photos):
    want = load(run_folder).predict(photos)
    assert load(run_folder / "artifact").predict(photos) == want
    assert compress.load(str(run_folder)).predict(photos) == want


def test_every_way_to_give_an_image(run_folder, photos):
    model = load(run_folder)
    first = model.predict(photos[0])
    pixels = decode(photos[0], SIZE)
    for one in (
        str(photos[0]),
        photos[0].read_bytes(),
        Image.open(photos[0]),
        np.asarray(Image.open(photos[0])),
        pixels,
        pixels[None],
        [photos[0]],
        iter([pixels]),
    ):
        got = model.predict(one)
        assert [label for label, _ in got] == ["red"]
        assert got[0][1] == pytest.approx(first[0][1], abs=1e-6)
    mixed = model.predict([photos[1], pixels, Image.open(photos[2])])
    assert [label for label, _ in mixed] == ["green", "red", "blue"]


def test_arrays_are_taken_as_they_are_or_resized_as_files_are(run_folder):
    model = load(run_folder)
    rng = np.random.default_rng(0)
    exact = rng.integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    assert model.decode(exact) is exact
    other = rng.integers(0, 256, (2, 50, 31, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(other[1]).save(buffer, "PNG")
    assert np.array_equal(model.decode(other)[1], decode(buffer.getvalue(), SIZE))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pil_images_of_every_mode(run_folder, mode, tmp_path):
    image = Image.new("RGB", (30, 20), (250, 20, 20))
    image = Image.new(mode, (30, 20), 60000) if mode == "I;16" else image.convert(mode)
    assert load(run_folder).decode(image).shape == (1, SIZE, SIZE, 3)


def test_padded_however_an_image_is_given(run_folder, tmp_path, photos):
    folder = tmp_path / "padded"
    shutil.copytree(run_folder, folder)
    manifest = folder / "artifact" / "artifact.json"
    meta = json.loads(manifest.read_text())
    meta["preprocess"]["decode"] = "reference-pad"
    manifest.write_text(json.dumps(meta))
    model = load(folder)
    want = decode(photos[0], SIZE, pad=True)
    image = Image.open(photos[0])
    for given in (photos[0], photos[0].read_bytes(), image, np.asarray(image)):
        assert np.array_equal(model.decode(given)[0], want)
    assert not np.array_equal(want, decode(photos[0], SIZE))


def test_pil_images_look_as_their_files(run_folder, tmp_path):
    """Transparency on white, and upright by the camera's orientation, as in training."""
    model = load(run_folder)
    glass = Image.new("RGBA", (30, 30), (255, 0, 0, 0))
    assert (model.decode(glass) == 255).all()
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    side = tmp_path / "side.png"
    Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(side, exif=exif)
    assert np.array_equal(model.decode(Image.open(side))[0], decode(side, SIZE))


def test_many_images_are_the_same_as_one_by_one(run_folder):
    model = load(run_folder)
    batch = np.random.default_rng(0).integers(0, 256, (130, SIZE, SIZE, 3), dtype=np.uint8)
    got = model.logits(batch)
    assert got.shape == (130, 3)
    assert got.dtype == np.float32
    ones = np.concatenate([model.logits(batch[i : i + 1]) for i in range(0, 130, 13)])
    assert np.allclose(got[::13], ones, atol=1e-5)


def test_calls_from_many_threads_do_not_mix(run_folder):
    model = load(run_folder)
    batch = np.random.default_rng(0).integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8)
    want = [model.logits(image[None]) for image in batch]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            got = list(pool.map(model.logits, [image[None] for image in batch]))
            assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((2, SIZE, SIZE, 3), np.float32), "must be uint8 H x W x 3 .*got float32 24 x 24 x 3"),
        (np.zeros((SIZE, SIZE), np.uint8), "got uint8 24 x 24$"),
        (np.zeros((3, SIZE, SIZE), np.uint8), "got uint8 3 x 24 x 24"),
        (np.zeros((0, SIZE, SIZE, 3), np.uint8), "got uint8 0 x"),
        ([], "no images"),
        ([None], "must be a path.*got NoneType"),
        (7, "must be a path.*got int"),
        ("nowhere.png", r"nowhere\.png: No such file"),
        (b"not an image", "not an image"),
    ],
)
def test_what_is_no_image_is_named(run_folder, images, said):
    with pytest.raises(InputError, match=said):
        load(run_folder).predict(images)


def test_folders_without_a_model_are_named(run_folder, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"not a run's folder"):
        load(tmp_path)
    bare = tmp_path / "bare"
    shutil.copytree(run_folder / "artifact", bare)
    meta = json.loads((bare / "artifact.json").read_text())
    (bare / "artifact.json").write_text(json.dumps({k: v for k, v in meta.items() if k != "labels"}))
    with pytest.raises(InputError, match="a bare module, not a whole net"):
        load(bare)
    for preprocess, lacks in (
        ({}, "KeyError: 'size'"),
        ({"size": "wide"}, "ValueError: "),
        ([], "TypeError: "),
    ):
        (bare / "artifact.json").write_text(json.dumps({**meta, "preprocess": preprocess}))
        with pytest.raises(InputError, match=rf"damaged \(labels or preprocess: {lacks}"):
            load(bare)


def test_the_command_labels_what_it_can(run_folder, photos, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    assert main(["predict", str(run_folder), str(photos[2]), str(bad), str(photos[0].parent)]) == 2
    out, err = capsys.readouterr()
    named = [line.split("\t")[:2] for line in out.splitlines()]
    assert named == [[str(p), p.stem] for p in [photos[2], *sorted(photos)]]
    assert [line.startswith(str(bad)) for line in err.splitlines()] == [True]
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(run_folder), str(tmp_path / "empty")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'empty'}: no file in it\n"


def test_a_name_that_is_not_utf8_is_printed_escaped(run_folder, photos, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(photos[0], tmp_path / name)
    (tmp_path / f"bad-{name}").write_bytes(b"no image")
    assert main(["predict", str(run_folder), str(tmp_path), str(photos[1])]) == 2
    out, err = capsys.readouterr()
    shown = rf"{tmp_path}/caf\udce9.png"
    named = [line.split("\t")[:2] for line in out.splitlines()]
    assert named == [[shown, "red"], [str(photos[1]), "green"]]
    assert err.startswith(rf"{tmp_path}/bad-caf\udce9.png: ")


def test_works_without_torch(run_folder, photos):
    kind = json.loads((run_folder / "artifact" / "artifact.json").read_text())["runtime"]
    if kind == "torch":
        pytest.skip("the torch runtime is torch")
    code = f"""
import sys
sys.modules["torch"] = None
import compress
model = compress.load({str(run_folder)!r})
print(*[label for label, _ in model.predict({[str(p) for p in photos]!r})])
del sys.modules["torch"]
assert not [name for name in sys.modules if name.split(".")[0] in ("torch", "torchvision", "onnx", "sklearn")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "red green blue\n", done.stderr
    assert done.stderr == ""
