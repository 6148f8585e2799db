"""What every runtime must do, whichever are installed."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import nn

from compress.errors import CompressError, InputError
from compress.net import Quant
from compress.runtimes.base import MANIFEST, Artifact
from compress.runtimes.deploy import eager_logits, export_net, parity
from compress.runtimes.folder import write_json
from compress.runtimes.kinds import BY_KIND, RUNTIMES, installed, load_artifact, open_artifact

ROOT = Path(__file__).resolve().parents[2]
EVERY = pytest.mark.parametrize("cls", RUNTIMES)


@EVERY
def test_round_trip_through_json_and_yaml(cls):
    options = [{}, {"threads": 2}, *([{"compile": True}] if "compile" in cls.model_fields else [])]
    for spec in (cls(**one) for one in options):
        assert cls.model_validate(json.loads(spec.model_dump_json())) == spec
        assert cls.model_validate(yaml.safe_load(yaml.safe_dump(spec.canonical()))) == spec
    with pytest.raises(ValidationError):
        cls(threads=0)
    assert BY_KIND[cls().kind] is cls


def test_a_missing_package_is_one_line(tmp_path):
    for cls in RUNTIMES:
        kind = cls().kind
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "model").touch()
        write_json(tmp_path / kind / MANIFEST, {"runtime": kind, "file": "model"})
    code = f"""
import sys
from pathlib import Path
from compress.errors import InputError
from compress.runtimes.kinds import BY_KIND, installed, load_artifact
from compress.runtimes.base import Artifact
for kind, cls in BY_KIND.items():
    sys.modules[kind] = None
    runtime, folder = cls(), Path({str(tmp_path)!r}) / kind
    assert cls not in installed()
    print(runtime.missing())
    print(*runtime.check())
    for call in (
        lambda: runtime.load(Artifact(folder)),
        lambda: runtime.export(None, None, folder / "new"),
        lambda: load_artifact(folder),
    ):
        try:
            call()
        except InputError as error:
            print(*error.problems)
    del sys.modules[kind]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    lines = {cls().kind: not_installed(cls) for cls in RUNTIMES}
    want = [
        said
        for kind, line in lines.items()
        for said in (*[line] * 4, f"{tmp_path / kind} needs {kind}: {line}")
    ]
    assert done.stdout.splitlines() == want, done.stderr


def not_installed(cls):
    """What must be said where the package is missing; TensorRT's GPU is looked for first."""
    kind = cls().kind
    if kind == "tensorrt" and "GPU" in str(cls().missing()):
        return "tensorrt needs an NVIDIA GPU with its driver; none is here"
    return f"{kind} is not installed: pip install " + (f"'beyondnas[{cls.extra}]'" if cls.extra else kind)


def test_what_only_exports_is_asked_for_when_exporting():
    code = """
import sys
sys.modules["pnnx"] = None
from compress.runtimes.ncnn_runtime import NcnnRuntime
print(NcnnRuntime().missing(), NcnnRuntime().missing(export=True), *NcnnRuntime().check(), sep="|")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    line = "pnnx is not installed: pip install 'beyondnas[ncnn]'"
    assert done.stdout.strip().split("|")[1:] == [line, line], done.stderr


def test_every_extra_that_is_named_exists():
    extras = configparser.ConfigParser()
    extras.read(ROOT / "setup.cfg")
    brought = {
        name: {re.split(r"[<>=\[]", line)[0] for line in lines.split()}
        for name, lines in extras["options.extras_require"].items()
    }
    for cls in RUNTIMES:
        if cls.extra:
            assert set(cls.packages + cls.exporters) - {"torch"} <= brought[cls.extra]


def test_a_recipe_asks_whether_its_runtime_is_here():
    code = """
import sys
from compress.recipe import Recipe
from compress.runtimes.kinds import BY_KIND
for kind in BY_KIND:
    recipe = Recipe(name="x", runtime={"kind": kind})
    print(recipe.check())
    print(kind in sys.modules)
    sys.modules[kind] = None
    print(*recipe.check())
    del sys.modules[kind]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    want = []
    for cls in RUNTIMES:
        here = [f"runtime: {line}" for line in cls().check()]
        want += [str(here), "False", f"runtime: {not_installed(cls)}"]
    assert done.stdout.splitlines() == want, done.stderr


def test_json_is_written_whole_and_leaves_nothing_beside_it(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1})
    write_json(tmp_path / "a.json", {"b": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 2}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"b": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 2}


def test_agrees_with_torch_on_every_batch(net, runtime, artifact, pictures):
    want = eager_logits(net, pictures)
    assert len(set(want.argmax(1))) >= 3
    free, one = runtime.load(artifact, batch=None), runtime.load(artifact, batch=1)
    four = runtime.load(artifact, batch=4)
    allowed = 1e-4 * np.abs(want).max()
    for n in (1, 3, len(pictures)):
        got = free(pictures[:n])
        assert got.dtype == np.float32
        assert got.shape == (n, 4)
        assert np.abs(got - want[:n]).max() < allowed
    for i in (0, 5):
        assert np.abs(one(pictures[i : i + 1]) - want[i]).max() < allowed
    assert np.abs(four(pictures[4:8]) - want[4:8]).max() < allowed
    assert parity(net, runtime, artifact, pictures).ok


def test_results_are_the_callers_own(runtime, relu6_artifact, pictures):
    for batch in (1, None):
        run = runtime.load(relu6_artifact, batch=batch)
        first = run(pictures[:1])
        kept = first.copy()
        run(pictures[9:10])
        assert np.array_equal(first, kept)


def test_memory_mapped_and_sliced_images(runtime, relu6_artifact, pictures, tmp_path):
    np.save(tmp_path / "p.npy", np.repeat(pictures, 2, axis=0))
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")[::2]
    run = runtime.load(relu6_artifact, batch=None)
    assert np.array_equal(run(mapped), run(pictures))


@pytest.mark.parametrize("batch", [1, None])
def test_a_batch_that_does_not_fit_is_refused(runtime, relu6_artifact, pictures, batch):
    run = runtime.load(relu6_artifact, batch=batch)
    n = batch or "N"
    with pytest.raises(InputError, match=rf"takes uint8 {n} x 32 x 32 x 3, got float32 1 x 32 x 32 x 3"):
        run(pictures[:1].astype(np.float32))
    with pytest.raises(InputError, match=r"got uint8 1 x 3 x 32 x 32"):
        run(pictures[:1].transpose(0, 3, 1, 2))
    with pytest.raises(InputError, match=r"got uint8 0 x"):
        run(pictures[:0])
    if batch:
        with pytest.raises(InputError, match=r"got uint8 2 x"):
            run(pictures[:2])


def test_a_fresh_process_gives_the_same_logits(runtime, relu6_artifact, pictures, tmp_path):
    np.save(tmp_path / "in.npy", pictures)
    code = f"""
import sys
import numpy as np
from pathlib import Path
from compress.runtimes.folder import write_json
from compress.runtimes.kinds import load_artifact
images = np.load({str(tmp_path / "in.npy")!r})
np.save({str(tmp_path / "out.npy")!r}, load_artifact(Path({str(relu6_artifact.path)!r}), None)(images))
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(runtime.kind == "torch")
    assert np.array_equal(np.load(tmp_path / "out.npy"), load_artifact(relu6_artifact.path, None)(pictures))


def test_what_lies_in_the_folder(net, runtime, artifact):
    meta = json.loads((artifact.path / MANIFEST).read_text())
    assert meta == artifact.meta
    assert meta["runtime"] == runtime.kind
    assert meta["input"] == {"shape": [32, 32, 3], "dtype": "uint8"}
    assert meta["int8"] is False
    assert meta["labels"] == list(net.labels) == json.loads((artifact.path / "labels.json").read_text())
    preprocess = {"size": 32, "mean": [0.5, 0.4, 0.6], "std": [0.2, 0.25, 0.3], "decode": "reference"}
    assert meta["preprocess"] == preprocess
    assert (artifact.path / meta["file"]).is_file()
    assert meta["files"] == {f.name: f.stat().st_size for f in artifact.path.iterdir() if f.suffix != ".json"}
    assert meta["content"] == artifact.content
    params = sum(p.numel() for p in net.module.parameters())
    assert artifact.bytes > 4 * params * 0.9  # float32 stays float32
    text = b"".join(f.read_bytes() for f in artifact.path.iterdir())
    assert str(ROOT).encode() not in text, "a path of this machine is in the artifact"
    assert not list(artifact.path.parent.glob(".*")), "scratch folders are left"
    again, _ = open_artifact(artifact.path)
    assert again == runtime


def test_export_leaves_the_net_as_it_is(relu6_net, runtime, tmp_path):
    net = relu6_net.copy()
    net.module.train()
    before = {k: v.clone() for k, v in net.module.state_dict().items()}
    export_net(net, runtime, tmp_path / "a")
    assert net.module.training
    assert all(torch.equal(v, before[k]) for k, v in net.module.state_dict().items())


def test_a_bare_module_with_a_float_input(runtime, tmp_path):
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()).eval()
    x = torch.randn(2, 8, 10, 12)
    artifact = runtime.export(layer, x[:1], tmp_path / "layer")
    assert artifact.meta["input"] == {"shape": [8, 10, 12], "dtype": "float32"}
    assert "labels" not in artifact.meta
    with torch.no_grad():
        want = layer(x).numpy()
    assert np.abs(runtime.load(artifact, batch=None)(x.numpy()) - want).max() < 1e-5
    assert np.abs(runtime.load(artifact)(x[1:].numpy()) - want[1:]).max() < 1e-5


def test_int8_is_honoured_or_refused(relu6_net, runtime, quant, tmp_path):
    net = relu6_net.copy()
    net.quant = quant
    if not runtime.int8:
        with pytest.raises(ValueError, match="has no int8"):
            export_net(net, runtime, tmp_path / "q")
        assert list(tmp_path.iterdir()) == []
        return
    artifact = export_net(net, runtime, tmp_path / "q")
    assert artifact.meta["int8"] is True
    weights = sum(f.stat().st_size for f in artifact.path.iterdir() if f.suffix in (".onnx", ".bin"))
    net.quant = None
    plain = export_net(net, runtime, tmp_path / "f")
    big = sum(f.stat().st_size for f in plain.path.iterdir() if f.suffix in (".onnx", ".bin"))
    assert weights < 8 * 1024 + big  # tiny nets: the nodes weigh more than the weights
    found = parity(net, runtime, artifact, quant.images)
    assert found.int8
    assert found.agreement >= 0.75
    assert found.max_difference > 0


def test_an_artifact_there_already_is_replaced(relu6_net, runtime, tmp_path, pictures):
    layer = nn.Conv2d(3, 4, 1)
    path = tmp_path / "a"
    path.mkdir()  # empty: fine
    runtime.export(layer, torch.zeros(1, 3, 4, 4), path)
    runtime.export(layer, torch.zeros(1, 3, 5, 5), path)
    assert Artifact(path).meta["input"]["shape"] == [3, 5, 5]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_other_things_there_are_left_alone(runtime, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("ten years")
    (tmp_path / "file").write_text("x")
    for name in ("mine", "file"):
        with pytest.raises(InputError, match="exists and is not an artifact"):
            runtime.export(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 4, 4), tmp_path / name)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "ten years"


def test_a_failed_export_leaves_nothing_and_keeps_the_old(runtime, tmp_path):
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(2, -1) if x.shape[0] == 2 else x.reshape(x.shape[0] + 1, -1)

    path = tmp_path / "a"
    runtime.export(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 4, 4), path)
    with pytest.raises(CompressError) as caught:
        runtime.export(Fixed(), torch.zeros(1, 3, 4, 4), path)
    assert len(str(caught.value).splitlines()) == 1
    assert Artifact(path).meta["input"]["shape"] == [3, 4, 4]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_export_and_load_are_silent(tmp_path):
    """In a process of its own: an exporter may write past Python's own streams."""
    code = f"""
import torch
from pathlib import Path
from compress.net import Quant
from compress.runtimes.kinds import installed
layer = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
images = torch.rand(20, 3, 9, 9)
for cls in installed():
    quant = Quant(images.numpy()) if cls.int8 else None
    artifact = cls().export(layer, images[:1], Path({str(tmp_path)!r}) / cls().kind, quant)
    cls().load(artifact, None)(images.numpy())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} == {cls().kind for cls in installed()}


def test_a_damaged_artifact_is_named(runtime, relu6_artifact, tmp_path):
    with pytest.raises(InputError, match=r"no artifact\.json there"):
        open_artifact(tmp_path)
    path = tmp_path / "a"
    path.mkdir()
    (path / MANIFEST).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        open_artifact(path)
    (path / MANIFEST).write_text(json.dumps(relu6_artifact.meta))
    with pytest.raises(InputError, match=r"is missing, so this export is damaged"):
        open_artifact(path)
    (path / MANIFEST).write_text(json.dumps({**relu6_artifact.meta, "runtime": "abacus"}))
    with pytest.raises(InputError, match="runtime 'abacus' is unknown; known are onnxruntime"):
        open_artifact(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threads": 0}, "threads: Input should be greater than or equal to 1, found 0"),
        ({"files": ["a"]}, "TypeError: "),
        ({"file": 3}, "TypeError: "),
        ({"runtime": ["onnxruntime"]}, "TypeError: "),
    ],
)
def test_a_damaged_manifest_is_one_line(change, said, relu6_artifact, tmp_path):
    copy = Path(shutil.copytree(relu6_artifact.path, tmp_path / "copy"))
    (copy / MANIFEST).write_text(json.dumps({**relu6_artifact.meta, **change}))
    with pytest.raises(InputError, match=re.escape(f"{copy / MANIFEST}: damaged ({said}")) as caught:
        open_artifact(copy)
    assert len(str(caught.value).splitlines()) == 1


def test_an_artifact_cut_short_is_refused(runtime, relu6_artifact, tmp_path):
    for name in relu6_artifact.meta["files"]:
        path = tmp_path / name
        shutil.copytree(relu6_artifact.path, path)
        with (path / name).open("r+b") as file:
            file.truncate(relu6_artifact.meta["files"][name] // 2)
        with pytest.raises(InputError, match=rf"{name}: has \d+ bytes instead of \d+, so this export is"):
            open_artifact(path)
        (path / name).unlink()
        with pytest.raises(InputError, match=rf"{name} is missing, so this export is damaged"):
            open_artifact(path)


def test_files_that_the_runtime_cannot_read_are_one_line(runtime, relu6_artifact, tmp_path):
    """As those made by a newer one."""
    copy = Artifact(shutil.copytree(relu6_artifact.path, tmp_path / "copy"))
    file = copy.path / copy.meta["file"]
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(CompressError, match=f"{runtime.kind} cannot load it") as caught:
        load_artifact(copy.path)
    assert str(caught.value).startswith(str(copy.path))
    assert len(str(caught.value).splitlines()) == 1


def test_the_same_net_gives_the_same_files_and_logits(runtime, relu6_net, relu6_artifact, pictures, tmp_path):
    again = export_net(relu6_net, runtime, tmp_path / "again")
    assert again.meta["files"].keys() == relu6_artifact.meta["files"].keys()
    if runtime.kind != "torch":  # its archive holds the time it was made
        assert again.content == relu6_artifact.content
    first, second = (runtime.load(a, batch=1) for a in (relu6_artifact, again))
    for image in (pictures[:1], pictures[7:8]):
        assert np.array_equal(first(image), second(image))
        assert np.array_equal(first(image), first(image))


def test_a_copied_folder_has_the_same_content_and_a_changed_one_has_not(runtime, relu6_artifact, tmp_path):
    copy = Artifact(shutil.copytree(relu6_artifact.path, tmp_path / "elsewhere"))
    assert copy.content == relu6_artifact.content
    file = copy.path / copy.meta["file"]
    file.write_bytes(file.read_bytes()[:-1] + b"~")
    assert copy.content != relu6_artifact.content


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads")
def test_as_many_threads_as_asked_for_and_only_those(runtime, tmp_path):
    """Those there are in a process that does nothing else; two are asked: OpenVINO's threads come and go, and
    PyTorch has some that it does not use."""
    layers = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(4)]
    runtime.export(nn.Sequential(*layers), torch.zeros(1, 64, 40, 40), tmp_path / "a")
    code = f"""
import os
import numpy as np
from pathlib import Path
from compress.runtimes.base import Artifact
from compress.runtimes.kinds import BY_KIND
artifact = Artifact(Path({str(tmp_path / "a")!r}))
file, takes = artifact.path / artifact.meta["file"], artifact.meta["input"]
x = np.random.default_rng(0).normal(size=(1, 64, 40, 40)).astype(np.float32)
def there():
    return len(os.listdir("/proc/self/task"))
for threads in (1, 1, 2):
    runtime, before = BY_KIND[{runtime.kind!r}](threads=threads), there()
    run = runtime.load(artifact)
    for _ in range(3):
        run(x)
    if runtime.kind == "openvino":
        print(runtime.compiled(file, takes, 1).get_property("INFERENCE_NUM_THREADS") - 1)
    elif runtime.kind == "torch":
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode
        seen = set()
        class Watch(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                seen.add(torch.get_num_threads() - 1)
                return func(*args, **(kwargs or {{}}))
        with Watch():
            run(x)
        print(*seen)
    else:
        print(there() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split()[1:] == ["0", "1"], done.stderr  # the first loads the libraries, too


@pytest.mark.skipif("CI" not in os.environ, reason="here a runtime may be missing; CI installs every extra")
def test_every_runtime_of_this_project_is_installed_for_the_tests():
    assert {cls for cls in RUNTIMES if cls.extra != "tensorrt"} <= set(installed())


def test_quant_that_does_not_fit_is_refused(relu6_net, runtime, pictures, tmp_path):
    if not runtime.int8:
        pytest.skip("no int8")
    net = relu6_net.copy()
    for quant, named in (
        (Quant(pictures[:, :16]), "calibration images must be uint8 N x 32 x 32 x 3, got uint8 24 x 16"),
        (Quant(pictures[:0]), "got uint8 0 x"),
        (Quant(pictures, method="best"), "must be one of .*minmax.*got 'best'"),
        (Quant(pictures, exclude=("nowhere",)), "nowhere"),
    ):
        net.quant = quant
        with pytest.raises(ValueError, match=named):
            export_net(net, runtime, tmp_path / "q")
