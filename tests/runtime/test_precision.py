"""Fast paths in bfloat16 and float16 against the plain one, and which is taken by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

import restore
from restore.checkpoints.load import load_network
from restore.errors import DeviceError, InputError
from restore.runtime import contract as precision_module
from restore.runtime.contract import cpu_has_bfloat16, cpu_precision
from restore.runtime.export import export_model, image_psnr
from restore.runtime.openvino_runtime import OpenvinoRuntime
from restore.runtime.select import load_runtime
from restore.runtime.torch_runtime import DeviceBatches, TorchRuntime
from tests.runtime.models import GFPGAN, MOBILE, write_model

NETWORKS = {"mobile": ("mobile_restorer", MOBILE), "clean": ("gfpgan_clean", GFPGAN)}
needs_bfloat16 = pytest.mark.skipif(
    not cpu_has_bfloat16(), reason="this CPU does not compute in bfloat16"
)


@pytest.fixture(scope="module", params=NETWORKS)
def model(request, tmp_path_factory):
    path = write_model(tmp_path_factory.mktemp("model"), *NETWORKS[request.param])
    export_model(path)
    return path


def crops(n, size=32):
    coarse = np.random.default_rng(3).integers(0, 256, (n, size // 8, size // 8, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def psnr(found, expected):
    a, b = (x.astype(np.float64) / 127.5 - 1 for x in (found, expected))
    return image_psnr(a, b)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_bfloat16_is_near_float32(model, backend):
    pytest.importorskip(backend)
    exact, _ = load_runtime(model, backend, "cpu", 1, "float32").run(crops(3), 1.0)
    rough, _ = load_runtime(model, backend, "cpu", 1, "bfloat16").run(crops(3), 1.0)
    assert exact.std() > 5
    # Tiny images of few features average little out; the floor of 45 dB is that of real sizes.
    assert psnr(rough, exact) >= 38


@needs_bfloat16
@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_the_packaged_model_in_bfloat16(backend):
    pytest.importorskip(backend)
    path = Path(restore.__file__).parent / "weights" / "default.safetensors"
    if not path.is_file():
        pytest.skip(f"no packaged model at {path}")
    automatic = load_runtime(path, backend, "cpu")
    assert automatic.precision == ("bfloat16" if backend == "openvino" else "float32")
    rough, estimates = load_runtime(path, backend, "cpu", precision="bfloat16").run(
        crops(1, 512), 1.0
    )
    exact, reference = load_runtime(path, backend, "cpu", precision="float32").run(
        crops(1, 512), 1.0
    )
    assert psnr(rough, exact) >= 45
    np.testing.assert_allclose(estimates, reference, atol=0.05)


def test_auto_is_what_the_cpu_has(monkeypatch, tmp_path):
    listed = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision_module, "CPU_INFO", listed)
    for text, expected in (
        ("flags : fpu avx512_bf16 sse\n", "bfloat16"),
        ("Features\t: fp asimd bf16\n", "bfloat16"),
        ("flags : fpu avx2\nbugs : bf16\n", "float32"),
        (None, "float32"),
    ):
        cpu_has_bfloat16.cache_clear()
        listed.unlink(missing_ok=True)
        if text is not None:
            listed.write_text(text)
        assert cpu_precision("auto") == expected
    cpu_has_bfloat16.cache_clear()
    assert cpu_precision("float16") == "float16"
    with pytest.raises(DeviceError, match="choose of auto"):
        cpu_precision("fp32")


def test_precision_is_told(model):
    pytest.importorskip("openvino")
    assert OpenvinoRuntime(model, model.with_suffix(".onnx"), 1, "float32").precision == "float32"
    with pytest.raises(DeviceError, match="float32 or bfloat16"):
        load_runtime(model, "openvino", precision="float16")
    assert load_runtime(model, "onnxruntime").precision == "float32"


@pytest.mark.parametrize("n", [0, 1, 5])
def test_batches_of_a_device_equal_the_network(model, n):
    network = load_network(model)
    fidelity = np.linspace(0, 1, n, dtype=np.float32)
    batches = DeviceBatches(network, 32, torch.device("cpu"), sizes=(2, 4))
    found, _ = batches.run(torch.from_numpy(crops(n)), torch.from_numpy(fidelity))
    with torch.no_grad():
        lq = torch.from_numpy(crops(n)).permute(0, 3, 1, 2) / 127.5 - 1
        image = network(lq, torch.from_numpy(fidelity)).image if n else lq
    expected = (image.clamp(-1, 1) * 127.5 + 127.5).round().permute(0, 2, 3, 1)
    assert found.dtype == torch.uint8
    assert found.shape == (n, 32, 32, 3)
    assert n == 0 or (found - expected).abs().max() <= 1


def test_a_batch_that_is_not_finite_is_refused(model):
    runtime = TorchRuntime(model, precision="float32")
    with torch.no_grad():
        for parameter in runtime._batches._network.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        runtime.run(crops(1), 1.0)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("n", [1, 3, 17])
def test_a_gpu_gives_what_the_cpu_gives(model, precision, n):
    expected, estimates = TorchRuntime(model, "cpu", precision="float32").run(crops(n), 0.7)
    runtime = TorchRuntime(model, "cuda", precision=precision)
    for _ in range(2):  # captured, then replayed
        found, degradation = runtime.run(crops(n), 0.7)
        assert psnr(found, expected) >= (50 if precision == "float32" else 38)
        if estimates is not None:
            np.testing.assert_allclose(degradation, estimates, atol=0.1)
