from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from restore.checkpoints.load import load_network
from restore.checkpoints.named_models import locate_model
from restore.commands.tree import run_verb
from restore.errors import CheckpointError, InputError, OptionError
from restore.model_files import read_header
from restore.networks.fast_arrangement import strips_of
from restore.runtime.export import (
    LEAST_PSNR,
    check_graph,
    export_model,
    export_precision,
    image_psnr,
)
from restore.runtime.graph import quantised_rows
from tests.runtime.models import GFPGAN, MOBILE, write_model

main = partial(run_verb, "export")


CASES = {
    "mobile": ("mobile_restorer", MOBILE),
    "mobile, published head": (
        "mobile_restorer",
        {**MOBILE, "prior_channels": (16, 24, 8), "head_sizes": ()},
    ),
    "mobile, maps above the trunk": (
        "mobile_restorer",
        {
            **MOBILE,
            "crop_size": 64,
            "head_sizes": (32, 64),
            "condition_levels": (8, 32),
            "prior_channels": (16, 32, 16, 8, 16),
        },
    ),
    "mobile, the face alone": ("mobile_restorer", {**MOBILE, "pool_face": True}),
    "mobile, no shuffle, no maps": (
        "mobile_restorer",
        {**MOBILE, "trunk_size": 32, "trunk_channels": (4, 8, 8, 8), "condition_levels": ()},
    ),
    "clean": ("gfpgan_clean", GFPGAN),
    "clean, one code, all channels": (
        "gfpgan_clean",
        {**GFPGAN, "out_size": 16, "different_w": False, "sft_half": False},
    ),
    "v1": ("gfpgan_v1", GFPGAN),
}


@pytest.fixture(scope="module", params=CASES)
def model(request, tmp_path_factory):
    """A model file with its graph beside it."""
    path = write_model(tmp_path_factory.mktemp("model"), *CASES[request.param])
    export_model(path)
    return path


def run(graph, lq, fidelity):
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    values = session.run(None, {"lq": lq.numpy(), "fidelity": fidelity.numpy()})
    return dict(zip(names, values, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 3])
def test_graph_equals_network(model, n):
    network = load_network(model)
    size = read_header(model)["crop_size"]
    lq = torch.rand(n, 3, size, size) * 2 - 1
    fidelity = torch.linspace(0.2, 1, n)
    expected = network(lq, fidelity)
    assert expected.image.std() > 0.05
    found = run(model.with_suffix(".onnx"), lq, fidelity)
    np.testing.assert_allclose(found["image"], expected.image, atol=1e-4)
    assert ("degradation" in found) == (expected.degradation is not None)
    if expected.degradation is not None:
        np.testing.assert_allclose(found["degradation"], expected.degradation, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 3, 5])
@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("mobile")])
def test_strips_of_any_height_give_the_same_image(case, rows, tmp_path, monkeypatch):
    model = write_model(tmp_path, *CASES[case])
    size = read_header(model)["crop_size"]
    lq = torch.rand(2, 3, size, size) * 2 - 1
    fidelity = torch.tensor([0.4, 1.0])
    whole = run(export_model(model), lq, fidelity)["image"]
    monkeypatch.setattr("restore.networks.fast_arrangement.STRIP_PIXELS", rows * size // 2)
    heights = [strip.end - strip.start for strip in strips_of(size // 2)]
    assert max(heights) == rows and sum(heights) == size // 2 and len(heights) > 1
    np.testing.assert_allclose(run(export_model(model), lq, fidelity)["image"], whole, atol=1e-5)


@torch.no_grad()
def test_fidelity_changes_the_image(model):
    network = load_network(model)
    size = read_header(model)["crop_size"]
    lq = torch.rand(1, 3, size, size) * 2 - 1
    graph = model.with_suffix(".onnx")
    low, high = (run(graph, lq, torch.tensor([f]))["image"] for f in (0.0, 1.0))
    np.testing.assert_allclose(low, network(lq, 0.0).image, atol=1e-4)
    has_maps = read_header(model)["arguments"].get("condition_levels", [8]) != []
    assert (np.abs(low - high).max() > 1e-2) == has_maps


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_graph_holds_no_weights(tmp_path, dtype):
    model = write_model(tmp_path, "mobile_restorer", MOBILE, dtype=dtype)
    proto = onnx.load(str(export_model(model)), load_external_data=False)
    places = read_header(model)["tensors"]
    external = {t.name: t for t in proto.graph.initializer if t.external_data}
    names = [t.name for t in proto.graph.initializer]
    assert len(names) == len(set(names))
    for name, tensor in external.items():
        told = {entry.key: entry.value for entry in tensor.external_data}
        assert told["location"] == "tiny.safetensors"
        assert (int(told["offset"]), int(told["length"])) == (
            places[name]["offset"],
            places[name]["length"],
        )
    inline = [t for t in proto.graph.initializer if not t.external_data]
    assert all(len(t.raw_data) <= 16384 for t in inline)
    # The mapping network and what lies above the crop size are not part of a restoration.
    unused = sorted(name for name in places if name not in external)
    assert {name.split(".")[1] for name in unused} == {
        "mapping_layers",
        "w_mean",
        "to_rgb",
        "blocks",  # of 32 px, all but the style of its up-sampling, which the head reads
    }
    assert any(n.op_type == "Cast" for n in proto.graph.node) == (dtype == torch.float16)
    assert all(n.op_type != "RandomNormal" for n in proto.graph.node)


def test_levels_above_the_crop_are_left_out(tmp_path):
    arguments = {**MOBILE, "prior_channels": (16, 32, 16, 8, 16)}
    model = write_model(tmp_path, "mobile_restorer", arguments)
    proto = onnx.load(str(export_model(model)), load_external_data=False)
    names = {t.name for t in proto.graph.initializer}
    assert any(name.startswith("decoder.blocks.16.conv2") for name in names)
    kept = {name for name in names if name.startswith("decoder.blocks.32.")}
    assert kept == {f"decoder.blocks.32.up.affine.{part}" for part in ("weight", "bias")}


def test_no_convolution_has_weights_of_a_sample(model):
    """Weights of every convolution follow from stored tensors and constants alone."""
    proto = onnx.load(str(model.with_suffix(".onnx")), load_external_data=False)
    fixed = {t.name for t in proto.graph.initializer}
    for node in proto.graph.node:
        if all(name in fixed for name in node.input):
            fixed |= set(node.output)
        if node.op_type in ("Conv", "ConvTranspose"):
            assert node.input[1] in fixed, node.name


def test_main_imports_a_checkpoint(tmp_path, capsys):
    from restore.checkpoints.architectures import build_network
    from tests.runtime.models import stirred

    torch.manual_seed(3)
    network = stirred(build_network("stylegan2", {"out_size": 16, "narrow": 0.03125, "w_dim": 8}))
    torch.save({"params_ema": network.state_dict()}, tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), "-o", str(tmp_path / "b.onnx")]) == 2
    assert "Give the model file that lies beside it" in capsys.readouterr().err
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.shared
def test_gfpgan_checkpoint_to_graph(shared, tmp_path, capsys):
    source = shared / "golden" / "gfpgan_clean_64.pth"
    assert main([str(source), "-o", str(tmp_path / "clean.onnx"), "--check"]) == 0
    assert "largest difference from torch: image" in capsys.readouterr().out
    header = read_header(tmp_path / "clean.safetensors")
    assert (header["architecture"], header["crop_size"]) == ("gfpgan_clean", 64)
    lq = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = load_network(source)(lq).image
    found = run(tmp_path / "clean.onnx", lq, torch.ones(1))["image"]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_check_finds_a_difference(tmp_path):
    model = write_model(tmp_path, "mobile_restorer", MOBILE)
    graph = export_model(model)
    assert check_graph(model, graph)["image"] < 1e-4
    place = read_header(model)["tensors"]["decoder.heads.32.weight"]
    with model.open("r+b") as file:  # as if the graph read other numbers than torch does
        weights = np.frombuffer(model.read_bytes(), "<f2", place["length"] // 2, place["offset"])
        file.seek(place["offset"])
        file.write((weights * np.float16(1)).tobytes())
    other = write_model(tmp_path / "..", "mobile_restorer", MOBILE, name=tmp_path.name)
    with other.open("r+b") as file:
        file.seek(place["offset"])
        file.write((weights * np.float16(3)).tobytes())
    with pytest.raises(CheckpointError, match="differs from torch"):
        check_graph(other, graph)


def test_a_graph_in_another_folder_takes_its_weights_along(tmp_path, capsys):
    graph = tmp_path / "elsewhere" / "default.onnx"
    assert main(["default", "-o", str(graph)]) == 0
    assert "copied beside it" in capsys.readouterr().out
    names = sorted(path.name for path in graph.parent.iterdir())
    assert names == ["default-prior.safetensors", "default.onnx", "default.safetensors"]
    lq = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = run(locate_model("default").with_suffix(".onnx"), lq, torch.ones(1))["image"]
    np.testing.assert_array_equal(run(graph, lq, torch.ones(1))["image"], expected)
    assert main(["default", "-o", str(graph)]) == 0  # the same weights are there: no complaint


def test_refusals(tmp_path):
    model = write_model(tmp_path, "mobile_restorer", MOBILE)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / model.name).write_bytes(b"another file")
    with pytest.raises(InputError, match="is there already and not"):
        export_model(model, tmp_path / "sub" / "a.onnx")
    prior = {"out_size": 16, "narrow": 0.03125, "w_dim": 8, "num_mlp": 1}
    with pytest.raises(CheckpointError, match="has no graph"):
        export_model(write_model(tmp_path, "stylegan2", prior, name="prior"))
    assert [p.name for p in tmp_path.glob("*.onnx")] == []


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_graphs_with_weights_of_their_own(model, tmp_path, precision):
    graph = export_precision(model, precision, tmp_path / "alone" / f"{precision}.onnx")
    proto = onnx.load(str(graph))
    assert not any(t.external_data for t in proto.graph.initializer)
    assert [i.type.tensor_type.elem_type for i in proto.graph.input] == [onnx.TensorProto.FLOAT] * 2
    kinds = {t.data_type for t in proto.graph.initializer if np.prod(t.dims) > 64}
    wanted = {"fp32": onnx.TensorProto.FLOAT, "fp16": onnx.TensorProto.FLOAT16,
              "int8": onnx.TensorProto.INT8}[precision]  # fmt: skip
    assert wanted in kinds
    assert precision == "int8" or kinds == {wanted}
    size = read_header(model)["crop_size"]
    lq = torch.rand(3, 3, size, size) * 2 - 1
    fidelity = torch.tensor([0.3, 1.0, 0.6])
    expected = load_network(model)(lq, fidelity)
    found = run(graph, lq, fidelity)
    least = {"fp32": 90, "fp16": 50, "int8": 25}[precision]  # tiny layers average little out
    assert image_psnr(found["image"], expected.image.numpy()) >= least
    if expected.degradation is not None:
        np.testing.assert_allclose(found["degradation"], expected.degradation, atol=0.3)


def test_int8_rows():
    rows = np.random.default_rng(0).normal(size=(5, 7, 3, 3)).astype(np.float32)
    rows[2] = 0
    rows[3] *= 1e-3
    stored, scale = quantised_rows(rows)
    assert (stored.dtype, stored.shape, scale.shape) == (np.int8, rows.shape, (5, 1, 1, 1))
    lost = np.abs(stored * scale - rows).max((1, 2, 3))
    assert (lost <= np.abs(rows).max((1, 2, 3)) / 254 * 1.001).all()
    assert not stored[2].any()


def test_the_command_writes_and_checks_a_precision(tmp_path, capsys, monkeypatch):
    model = write_model(tmp_path, "mobile_restorer", MOBILE)
    assert main([str(model), "--precision", "fp16", "--check"]) == 0
    assert (tmp_path / "tiny.fp16.onnx").is_file()
    said = capsys.readouterr().out
    assert "fp16 weights, opset 17, any batch" in said
    assert "dB (at least 45 asked)" in said
    monkeypatch.setitem(LEAST_PSNR, "fp16", 200.0)
    assert main([str(model), "--precision", "fp16", "--check"]) == 2
    assert "at least 200" in capsys.readouterr().err
    with pytest.raises(InputError, match="the runtimes read"):
        export_precision(model, "int8", tmp_path / "tiny.onnx")
    with pytest.raises(OptionError, match="fp32, fp16, int8"):
        export_precision(model, "int4")


@pytest.mark.shared
def test_a_checkpoint_in_int8(shared, tmp_path, capsys):
    source = shared / "golden" / "gfpgan_clean_64.pth"
    target = tmp_path / "clean.int8.onnx"
    assert main([str(source), "-o", str(target), "--precision", "int8", "--check"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["clean.int8.onnx"]
    assert target.stat().st_size < source.stat().st_size / 3
