"""NVIDIA pickles: a whole round trip, and proof that nothing embedded is ever run."""

import os
import pickle
import sys
import types

import pytest
import torch
from safetensors.torch import load_file

from restore.checkpoints.load import load_network
from restore.checkpoints.weights_file import read_data_pickle, read_nvidia_pickle
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


def build(target: tuple[str, str], state: bytes) -> bytes:
    """A pickle that gives attributes to what a name stands for, then holds nothing else."""
    return b"\x80\x02c" + "\n".join(target).encode() + b"\n" + state + b"b."


ATTRIBUTE = b"}X\x05\0\0\0stainX\x01\0\0\0xs"  # {"stain": "x"}


@pytest.mark.parametrize(
    "target",
    [
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch.storage", "_load_from_bytes"),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"),
        ("collections", "OrderedDict"),
        ("builtins", "set"),
        ("_codecs", "encode"),
        ("torch", "Size"),
        ("torch", "device"),
        ("torch", "float32"),
        ("torch.nn.modules.linear", "Linear"),
        ("dnnlib", "EasyDict"),
    ],
)
@pytest.mark.parametrize("slots", [False, True])
def test_attributes_set_by_a_pickle_change_nothing(target, slots, tmp_path):
    """BUILD on a function or a class would rewrite it for the whole process."""
    from restore.checkpoints import weights_file

    state = ATTRIBUTE if not slots else b"N" + ATTRIBUTE + b"\x86"
    path = tmp_path / "network.pkl"
    path.write_bytes(build(target, state))
    known = [torch._utils._rebuild_tensor_v2, torch.nn.Linear, torch.device, dict, set]
    known += [value for value in vars(weights_file).values() if callable(value)]
    with pytest.raises(CheckpointError):
        read_nvidia_pickle(path)
    assert not [value for value in known if hasattr(value, "stain")]
    assert not hasattr(torch.float32, "stain")


def test_a_function_cannot_be_given_other_defaults(tmp_path):
    before = torch._utils._rebuild_tensor_v2.__defaults__
    # a tuple of None and a table: the second is set attribute by attribute
    slots = b"(N(X\x0c\0\0\0__defaults__(K\x01tdt"
    path = tmp_path / "network.pkl"
    path.write_bytes(build(("torch._utils", "_rebuild_tensor_v2"), slots))
    with pytest.raises(CheckpointError, match="changes a function"):
        read_data_pickle(path)
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


def test_a_module_that_holds_itself_is_refused(tmp_path):
    path = tmp_path / "network.pkl"
    inner = b"\x80\x02}X\x05\0\0\0G_emactorch_utils.persistence\n_reconstruct_persistent_obj\n"
    # state: {"_modules": {"a": P}} where P is a plain module whose _modules hold P
    plain = (
        b"ctorch.nn.modules.container\nSequential\n)\x81q\x01"
        b"}X\x08\0\0\0_modules}X\x01\0\0\0ah\x01ssb"
    )
    meta = (
        b"(}(X\x04\0\0\0typeX\x05\0\0\0classX\x05\0\0\0state}X\x08\0\0\0_modules"
        b"}X\x01\0\0\0a" + plain + b"ssut"
    )
    path.write_bytes(inner + meta + b"Rs.")
    with pytest.raises(CheckpointError, match="damaged pickle: maximum recursion"):
        read_nvidia_pickle(path)
