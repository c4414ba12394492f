import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import restore
from restore.errors import CheckpointError, DeviceError, InputError, MissingExtraError
from restore.geometry import ffhq_template
from restore.runtime.contract import to_network, to_pixels
from restore.runtime.export import export_model
from restore.runtime.onnx_runtime import OnnxRuntime
from restore.runtime.openvino_runtime import OpenvinoRuntime
from restore.runtime.select import load_runtime
from restore.runtime.torch_runtime import TorchRuntime
from tests.runtime.models import GFPGAN, MOBILE, write_model

TEMPLATE = {"name": "ffhq512", "zoom": 1.2, "centre": [256, 280]}
BACKENDS = ["onnxruntime", "openvino", "torch"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    path = write_model(folder, "mobile_restorer", MOBILE, template=TEMPLATE)
    export_model(path)
    return path


@pytest.fixture(params=BACKENDS)
def runtime(request, model):
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return load_runtime(model, request.param, threads=1, precision="float32")


def crops(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), np.uint8)


def test_contract(runtime):
    assert runtime.crop_size == 32
    assert runtime.supports_fidelity
    np.testing.assert_allclose(runtime.template, ffhq_template(32, 1.2, (256, 280)))
    image, degradation = runtime.run(crops(2), 1.0)
    assert (image.shape, image.dtype) == ((2, 32, 32, 3), np.uint8)
    assert (degradation.shape, degradation.dtype) == ((2, 6), np.float32)


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_runtimes_agree(model, runtime, n):
    fidelity = np.linspace(0, 1, n, dtype=np.float32)
    image, degradation = runtime.run(crops(n), fidelity)
    reference, estimates = TorchRuntime(model, precision="float32").run(crops(n), fidelity)
    assert np.abs(image.astype(int) - reference).max() <= 1
    np.testing.assert_allclose(degradation, estimates, atol=1e-3)
    assert image.std() > 5


def test_a_batch_is_its_crops(runtime):
    together, estimates = runtime.run(crops(3), 0.5)
    for i in range(3):
        alone, estimate = runtime.run(crops(3)[i : i + 1], 0.5)
        assert np.abs(alone[0].astype(int) - together[i]).max() <= 1
        np.testing.assert_allclose(estimate[0], estimates[i], atol=1e-3)


def test_no_crops(runtime):
    image, _ = runtime.run(crops(0), 1.0)
    assert image.shape == (0, 32, 32, 3)


def test_fidelity_passes_through(runtime):
    low, high = (runtime.run(crops(1), f)[0].astype(int) for f in (0.0, 1.0))
    assert np.abs(low - high).max() > 2


def test_threads_share_a_runtime(runtime):
    inputs = [crops(1 + i % 3, seed=i) for i in range(16)]
    expected = [runtime.run(c, 0.7) for c in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda c: runtime.run(c, 0.7), inputs))
    for (image, degradation), (reference, estimate) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(image, reference)
        np.testing.assert_array_equal(degradation, estimate)


@pytest.mark.parametrize(
    ("value", "fidelity", "message"),
    [
        (np.zeros((1, 16, 16, 3), np.uint8), 1.0, "reads uint8 RGB"),
        (np.zeros((1, 32, 32, 3), np.float32), 1.0, "float32"),
        (np.zeros((1, 32, 32, 3), np.uint8), 1.5, "from 0"),
        (np.zeros((1, 32, 32, 3), np.uint8), float("nan"), "from 0"),
        (np.zeros((3, 32, 32, 3), np.uint8), np.ones(2), "one number or one a crop"),
    ],
)
def test_bad_requests(runtime, value, fidelity, message):
    with pytest.raises(InputError, match=message):
        runtime.run(value, fidelity)


def test_a_model_without_dial_says_so(model):
    runtime = TorchRuntime(model)
    runtime.supports_fidelity = False
    runtime.run(crops(1), 1.0)
    with pytest.raises(InputError, match="no fidelity dial"):
        runtime.run(crops(1), 0.5)


def test_pixels_there_and_back():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    numbers = to_network(ramp)
    assert (numbers.min(), numbers.max()) == (-1, 1)
    np.testing.assert_array_equal(to_pixels(numbers), ramp)
    np.testing.assert_array_equal(to_pixels(numbers * 2)[0, 0, 0], 0)
    with pytest.raises(InputError, match="not finite"):
        to_pixels(numbers * np.float32(np.nan))


def test_light_core_needs_neither_torch_nor_onnx(model, tmp_path):
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'onnx', 'openvino'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from restore.runtime.select import load_runtime\n"
        "runtime = load_runtime(sys.argv[1], backend=sys.argv[2])\n"
        "assert runtime.name == 'onnxruntime', runtime.name\n"
        "image, degradation = runtime.run(np.load('crops.npy'), 1.0)\n"
        "np.save('image.npy', image)\n"
    )
    np.save(tmp_path / "crops.npy", crops(2))
    environment = {**os.environ, "PYTHONPATH": str(Path(restore.__file__).parents[1])}
    subprocess.run(
        [sys.executable, "-c", code, str(model), "onnxruntime"],
        check=True,
        cwd=tmp_path,  # another folder than the model's: external data must be found all the same
        env=environment,
    )
    expected, _ = OnnxRuntime(model, model.with_suffix(".onnx")).run(crops(2), 1.0)
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), expected)


def test_auto_prefers_the_graph(model, monkeypatch):
    monkeypatch.setattr("restore.runtime.select._best_device", lambda: "cpu")
    assert load_runtime(model).name in ("openvino", "onnxruntime")
    monkeypatch.setattr("restore.runtime.select.find_spec", lambda name: None)
    assert load_runtime(model).name == "onnxruntime"


def test_auto_survives_a_broken_openvino(model, monkeypatch, caplog):
    def broken(*_):
        raise ImportError("no such library")

    monkeypatch.setattr("restore.runtime.select._best_device", lambda: "cpu")
    monkeypatch.setattr("restore.runtime.select.find_spec", lambda name: object())
    monkeypatch.setattr(OpenvinoRuntime, "__init__", broken)
    assert load_runtime(model).name == "onnxruntime"
    assert "no such library" in caplog.text


def test_auto_without_a_graph(tmp_path, monkeypatch):
    path = write_model(tmp_path, "gfpgan_clean", GFPGAN)
    expected, none = load_runtime(path, "torch", precision="float32").run(crops(1), 0.5)
    assert (expected.shape, none) == ((1, 32, 32, 3), None)
    monkeypatch.setattr("restore.runtime.select._best_device", lambda: "cpu")
    found = load_runtime(path, precision="float32")
    assert found.name == ("openvino" if find_spec("openvino") else "torch")
    assert np.abs(found.run(crops(1), 0.5)[0].astype(int) - expected).max() <= 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing was written
    with pytest.raises(CheckpointError, match="restore export"):
        load_runtime(path, "onnxruntime")
    monkeypatch.setattr("restore.runtime.select.find_spec", lambda name: None)
    assert load_runtime(path).name == "torch"


def test_pth_needs_torch(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"a.pth in torch.*restore\[torch\]"):
        load_runtime(tmp_path / "a.pth", device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorrt"}, "is unknown"),
        ({"backend": "onnxruntime", "device": "cuda"}, "runs on the cpu"),
        ({"backend": "onnxruntime", "threads": 0}, "0 threads"),
        ({"backend": "torch", "threads": 0}, "0 threads"),
        ({"backend": "torch", "device": "nonsense"}, "nonsense"),
        ({"backend": "onnxruntime", "precision": "float16"}, "float32"),
        ({"backend": "onnxruntime", "precision": "int4"}, "int4.* is unknown"),
    ],
)
def test_wishes_that_cannot_be(model, options, message):
    with pytest.raises(DeviceError, match=message):
        load_runtime(model, **options)


def test_no_such_model(tmp_path):
    with pytest.raises(CheckpointError, match="no model file"):
        load_runtime(tmp_path / "none.safetensors")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_of_another_state_is_refused(tmp_path, backend):
    pytest.importorskip(backend)
    path = write_model(tmp_path, "mobile_restorer", MOBILE)
    graph = export_model(path)
    write_model(tmp_path, "mobile_restorer", MOBILE, card="a longer header moves the tensors" * 9)
    with pytest.raises(CheckpointError, match="another state"):
        load_runtime(path, backend)
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="is cut"):
        load_runtime(path, backend)


def test_weights_trained_further_need_no_new_graph(tmp_path):
    path = write_model(tmp_path, "mobile_restorer", MOBILE)
    export_model(path)
    before, _ = load_runtime(path, "onnxruntime").run(crops(1), 1.0)
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    numbers = np.frombuffer(content, "<f2", offset=start).copy()
    content[start:] = (numbers * np.float16(0.5)).tobytes()
    path.write_bytes(content)
    after, _ = load_runtime(path, "onnxruntime").run(crops(1), 1.0)
    reference, _ = TorchRuntime(path, precision="float32").run(crops(1), 1.0)
    assert np.abs(after.astype(int) - before).max() > 1
    assert np.abs(after.astype(int) - reference).max() <= 1


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_packaged_model(backend):
    pytest.importorskip(backend)
    path = Path(restore.__file__).parent / "weights" / "default.safetensors"
    if not path.is_file():
        pytest.skip(f"no packaged model at {path}")
    runtime, reference = (
        load_runtime(path, backend, precision="float32"),
        TorchRuntime(path, precision="float32"),
    )
    size = runtime.crop_size
    noise = np.random.default_rng(0).uniform(0, 255, (1, size // 16, size // 16, 3))
    crop = np.kron(noise, np.ones((1, 16, 16, 1))).astype(np.uint8)
    image, degradation = runtime.run(crop, 1.0)
    expected, estimates = reference.run(crop, 1.0)
    assert np.abs(image.astype(int) - expected).max() <= 1
    np.testing.assert_allclose(degradation, estimates, atol=1e-3)


def test_packaged_graph_equals_torch():
    from restore.runtime.export import check_graph

    path = Path(restore.__file__).parent / "weights" / "default.safetensors"
    if not path.is_file():
        pytest.skip(f"no packaged model at {path}")
    assert check_graph(path, path.with_suffix(".onnx"))["image"] <= 1e-3
    assert torch.is_grad_enabled()


def test_openvino_is_imported_without_its_reports():
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    code = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda event, a: event in ('socket.connect', 'socket.getaddrinfo')"
        " and seen.append(a))\n"
        "from restore.runtime.openvino_runtime import import_openvino\n"
        "import_openvino().Core(); import time; time.sleep(1)\n"
        "assert not sys.modules['openvino_telemetry']; print(seen)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
