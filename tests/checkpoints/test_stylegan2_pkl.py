"""NVIDIA pickles: a whole round trip, and proof that nothing embedded is ever run."""

import os
import pickle
import sys
import types

import pytest
import torch
from safetensors.torch import load_file

from restore.checkpoints.load import load_network
from restore.checkpoints.stylegan2_pkl import read_data_pickle, read_nvidia_pickle
from restore.errors import CheckpointError


@pytest.fixture
def persistence(monkeypatch):
    """A stand-in for NVIDIA's module, so that pickles refer to its name as theirs do."""
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        exec(meta["module_src"], {})  # what the original does, in short

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    monkeypatch.setitem(sys.modules, "torch_utils", package)
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)
    return module


class Persistent(torch.nn.Module):
    """Pickles as NVIDIA's persistent classes do: a function, source text and the state."""

    reconstruct = None
    source = ""

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": Persistent.source,
            "class_name": "Generator",
            "state": dict(self.__dict__),
        }
        return Persistent.reconstruct, (meta,)


def tree(tensors):
    """Nested persistent modules from flat names; buffers where NVIDIA has buffers."""
    root = Persistent()
    for name, tensor in tensors.items():
        *stems, leaf = name.split(".")
        node = root
        for stem in stems:
            if stem not in node._modules:
                node.add_module(stem, Persistent())
            node = node._modules[stem]
        if leaf in ("noise_const", "resample_filter", "w_avg"):
            node.register_buffer(leaf, tensor)
        else:
            node.register_parameter(leaf, torch.nn.Parameter(tensor))
    return root


def dump(path, persistence, tensors, source, protocol=4, **extra):
    Persistent.reconstruct, Persistent.source = persistence._reconstruct_persistent_obj, source
    root = tree(tensors)
    root._init_kwargs = {"z_dim": 64, "img_resolution": 32}
    root.mapping.register_buffer("scratch", torch.zeros(3), persistent=False)
    with path.open("wb") as file:
        pickle.dump({"G": None, "D": None, "G_ema": root, **extra}, file, protocol=protocol)


@pytest.mark.shared
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_golden_generator_from_a_pickle(shared, persistence, protocol, tmp_path):
    tensors = load_file(shared / "golden/nvidia_stylegan2_32.state.safetensors")
    io = load_file(shared / "golden/nvidia_stylegan2_32.io.safetensors")
    marker, path = tmp_path / "marker", tmp_path / "network.pkl"
    dump(path, persistence, tensors, f"open({str(marker)!r}, 'w')", protocol)
    with torch.no_grad():
        out = load_network(path)(io["z"])
    torch.testing.assert_close(out, io["output"], atol=1e-4, rtol=0)
    assert not marker.exists()
    assert read_nvidia_pickle(path).init_kwargs["img_resolution"] == 32
    with path.open("rb") as file:
        pickle.load(file)  # the embedded source is live: an unguarded reader does run it
    assert marker.exists()


class Run:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ((os.system, "touch {marker}"), r"(posix|nt)\.system"),
        ((eval, "open('{marker}', 'w')"), r"builtins\.eval"),
        ((getattr, os, "system"), r"builtins\.getattr"),
    ],
)
def test_calls_are_refused_by_name(call, name, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "network.pkl"
    arguments = [a.format(marker=marker) if isinstance(a, str) else a for a in call]
    if arguments[1] is os:  # modules do not pickle; the name is what counts
        arguments[1] = 1
    path.write_bytes(pickle.dumps({"G_ema": Run(*arguments)}))
    with pytest.raises(CheckpointError, match=f"Refused: the pickle asks for {name}"):
        load_network(path)
    assert not marker.exists()


def test_a_storage_with_a_hidden_pickle_is_refused(tmp_path):
    """Tensors in plain pickles carry a torch file of their own; its inside is guarded as well."""
    import io

    marker, path = tmp_path / "marker", tmp_path / "network.pkl"
    inner = io.BytesIO()
    torch.save(Run(os.system, f"touch {marker}"), inner)
    load_from_bytes = torch.storage._load_from_bytes
    path.write_bytes(pickle.dumps({"G_ema": Run(load_from_bytes, inner.getvalue())}))
    with pytest.raises(CheckpointError, match=r"damaged|Refused"):
        read_data_pickle(path)
    assert not marker.exists()


def test_outside_references_and_tensorflow_files(tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(b"\x80\x04\x8c\x01xQ.")  # BINPERSID
    with pytest.raises(CheckpointError, match="outside object 'x'"):
        read_data_pickle(path)
    path.write_bytes(b"\x80\x02cdnnlib.tflib.network\nNetwork\n.")
    with pytest.raises(CheckpointError, match="TensorFlow"):
        read_data_pickle(path)


def test_no_network_inside(tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(pickle.dumps({"D": None, "kimg": 3}))
    with pytest.raises(CheckpointError, match="no network under G_ema or G; it holds D, kimg"):
        load_network(path)
