"""ONNX graphs of models, over their weights files or with weights of their own, and their check."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restore.checkpoints.architectures import ARCHITECTURES, build_network, header_of
from restore.checkpoints.named_models import MODELS
from restore.errors import CheckpointError, InputError, MissingExtraError, OptionError
from restore.model_files import (
    FORMAT,
    LAYOUT_KEY,
    check_prior,
    file_sha256,
    layout_sha256,
    open_session,
    read_array,
    read_header,
    tensor_places,
)
from restore.runtime.contract import ModelInfo, model_info, read_model_info, row_of_file
from restore.runtime.onnx_runtime import cpu_count

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads

OPSET = 17
PRECISIONS = ("fp32", "fp16", "int8")
TOLERANCE = 1e-3  # of the check, in the [-1,1] range of pixels
SMALL_TOLERANCE = {"identity_student": 1e-4, "cover_network": 1e-3}
"""Of vectors of length 1, and of logits."""
LEAST_PSNR = {"fp32": 80.0, "fp16": 45.0, "int8": 30.0}  # dB of images in [-1,1]


def export_model(
    model: str | os.PathLike[str], output: str | os.PathLike[str] | None = None
) -> Path:
    """Write the graph of a model file of ours beside it; returns its path.

    Inputs `lq` float32 [n,3,s,s] RGB in [-1,1] and `fidelity` float32 [n] in [0,1]; outputs `image`
    [n,3,s,s] and, where the network estimates it, `degradation` [n,6]. Of an identity student or a
    cover network: input `face` [n,3,h,w]; output `embedding` [n,d] or `cover`, logits [n,1,h',w'].
    The graph holds no weights: it points into the safetensors file, so both must stay in one
    folder; where `output` is in another one, the weights are copied there. Needs the extra `onnx`.
    """
    model = Path(model)
    output = model.with_suffix(".onnx") if output is None else Path(output)
    header = read_header(model)
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{model} is no model file of ours (format {header.get('format')!r})")
    text = f"weights in {model.name}; made by restore export"
    place = tensor_places(model).__getitem__
    graph = _graph_of_file(model, header, text, place=place).SerializeToString()
    if output.resolve().parent != model.resolve().parent:
        _copy_beside(model, output.parent)
        if "prior" in header:
            _copy_beside(check_prior(model, header["prior"])[0], output.parent)
    _write(graph, output)
    return output


def export_precision(
    model: str | os.PathLike[str], precision: str, output: str | os.PathLike[str] | None = None
) -> Path:
    """Write the graph of a model or GFPGAN-family checkpoint with weights of its own, in one file.

    `precision` "fp16": weights and computation float16, inputs and outputs float32. "int8": weights
    int8 with a scale for each output channel, computation float32. "fp32": as they are. The same
    inputs and outputs as `export_model`; default name NAME.fp16.onnx. Returns its path.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    model = Path(model)
    output = model.with_suffix(f".{precision}.onnx") if output is None else Path(output)
    if output.resolve() == model.with_suffix(".onnx").resolve() and is_ours(model):
        raise InputError(
            f"{output} is the graph over {model.name} that the runtimes read; name another with -o"
        )
    _write(checkpoint_graph(model, precision)[1].SerializeToString(), output)
    return output


def checkpoint_graph(path: Path, precision: str = "fp32") -> tuple[ModelInfo, onnx.ModelProto]:
    """The graph of a model file of ours or of a GFPGAN-family checkpoint, weights inside.

    `precision`: one of `PRECISIONS`. Raises `CheckpointError`.
    """
    text = f"weights of {path.name}, {precision}; made by restore export"
    if is_ours(path):
        info = read_model_info(path)
        read = partial(read_array, path)
        return info, _graph_of_file(path, info.header, text, read=read, precision=precision)
    network = load_restorer_checkpoint(path)
    state = network.state_dict()
    info = model_info({"crop_size": network.decoder.out_size, **row_of_file(path)}, str(path))
    graph = _graph(
        network,
        network.detection.architecture,
        info.crop_size,
        text,
        read=lambda name: state[name].numpy(),
        precision=precision,
    )
    return info, graph


def prior_model(
    generator: MobileStyleGAN, size: int, heads: PriorHeads | None = None
) -> onnx.ModelProto:
    """The prior alone: codes to an image of `size` px, what torch paints, weights inside, float32.

    Inputs `w_plus` [n,k,w_dim] and `fidelity` [n], which changes nothing; output `image`
    [n,3,size,size] RGB, about [-1.4,1.3], not clamped. `size`: the full one, half of it, one of
    `heads`, or one of `generator.heads`; ValueError for others.
    """
    from restore.networks.fast_arrangement import FastPrior
    from restore.runtime.graph import Weights, module_graph

    module = FastPrior(generator, size, heads)
    state = {name.removeprefix("network."): value for name, value in module.state_dict().items()}
    return module_graph(
        module,
        {"w_plus": (generator.num_styles, generator.w_dim), "fidelity": ()},
        ("image",),
        Weights(read=lambda name: state[name].numpy()),
    )


def _graph_of_file(
    model: Path, header: Mapping[str, Any], text: str, **weights: Any
) -> onnx.ModelProto:
    """The graph of a model file of ours; `weights`: fields of `restore.runtime.graph.Weights`."""
    architecture, arguments = str(header.get("architecture")), header.get("arguments", {})
    row = ARCHITECTURES.get(architecture)
    if row is None or row.exporter is None:
        known = ", ".join(name for name, row in ARCHITECTURES.items() if row.exporter)
        raise CheckpointError(
            f"{model}: architecture {architecture!r} has no graph; these have: {known}"
        )
    if arguments.get("norm"):
        raise CheckpointError(f"{model} still has batch norms; export a file as it is shipped")
    size = int(arguments.get(row.crop_size, 512)) if row.crop_size else 0
    network = _without_numbers(architecture, arguments)
    layout = {LAYOUT_KEY: layout_sha256(tensor_places(model))}
    return _graph(network, architecture, size, text, layout, **weights)


def _without_numbers(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "onnx", "Writing a graph") from error
    with torch.device("meta"):
        return build_network(architecture, arguments).eval()


def _graph(
    network: Any,
    architecture: str,
    size: int,
    text: str,
    properties: Mapping[str, str] | None = None,
    **weights: Any,
) -> onnx.ModelProto:
    """The graph of a network by its architecture's row; `size` of its crops in px."""
    from restore.runtime.graph import Weights, module_graph

    row = ARCHITECTURES[architecture]
    assert row.exporter is not None
    module, inputs, outputs = row.function(row.exporter)(network, size)
    text = f"{architecture}; {text}"
    return module_graph(module, inputs, outputs, Weights(**weights), properties, text)


def load_restorer_checkpoint(path: Path) -> Any:
    """The network of a GFPGAN-family checkpoint, with what was detected in `detection`."""
    from restore.checkpoints.load import load_network

    row = row_of_file(path)
    network = load_network(path, resample=row.get("resample"))
    detection = getattr(network, "detection", None)
    if detection is None or ARCHITECTURES[detection.architecture].crop_size is None:
        found = "a model file of ours" if detection is None else detection.family
        raise CheckpointError(f"{path} is {found}; only GFPGAN-family restorers are imported")
    return network


def is_ours(path: Path) -> bool:
    """Whether a file is a model file of ours, by its first bytes and header."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:9] == b"{" and read_header(path).get("format") == FORMAT


def _copy_beside(weights: Path, folder: Path) -> None:
    """Copy a weights file into the folder of a graph that reads it by name."""
    target = folder / weights.name
    if not target.exists():
        _write(weights.read_bytes(), target)
    elif file_sha256(target) != file_sha256(weights):
        raise InputError(
            f"{target} is there already and not {weights}, which the graph reads by that name; "
            "move it away, or write the graph into another folder"
        )


def _write(content: bytes, output: Path) -> None:
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, output)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def import_checkpoint(source: str | os.PathLike[str], output: Path) -> Path:
    """Write a GFPGAN-family checkpoint (.pth, ...) as a model file of ours; returns its path.

    float32, as such files are; the header says what was detected. Needs torch.
    """
    import torch

    from restore.checkpoints.model_file import save_model_file

    path = Path(source)
    network = load_restorer_checkpoint(path)
    rows = [entry for entry in MODELS.values() if entry.filename == path.name]
    detection = network.detection
    header = {
        **header_of(detection.architecture, detection.arguments),
        "licence": rows[0].licence if rows else "that of the checkpoint it was made from",
        "card": f"Imported from {path.name} ({detection.family}).",
    }
    save_model_file(output, network, header, torch.float32)
    return output


def check_graph(model: Path, graph: Path, seed: int = 0) -> dict[str, float]:
    """Largest difference per output between onnxruntime and torch on two random crops.

    Images in the [-1,1] range, at fidelity 1 and 0.4. Raises `CheckpointError` above 1e-3.
    """
    architecture = read_header(model).get("architecture")
    if architecture in SMALL_TOLERANCE:
        return _check_small_graph(model, graph, SMALL_TOLERANCE[architecture], seed)
    session = open_session(graph, cpu_count())
    size = session.get_inputs()[0].shape[-1]
    lq = np.random.default_rng(seed).uniform(-1, 1, (2, 3, size, size)).astype(np.float32)
    found, expected = _both(session, model, lq)
    differences = {
        name: float(np.abs(value - expected[name]).max()) for name, value in found.items()
    }
    # `not <=` also catches numbers that are not finite.
    if any(not difference <= TOLERANCE for difference in differences.values()):
        raise CheckpointError(
            f"{graph} differs from torch by {differences}, allowed is {TOLERANCE}"
        )
    return differences


def _check_small_graph(model: Path, graph: Path, tolerance: float, seed: int) -> dict[str, float]:
    """The same for a graph of one input and one output, on two random faces."""
    import torch

    from restore.checkpoints.load import load_network

    session = open_session(graph, cpu_count())
    (given,), (asked,) = session.get_inputs(), session.get_outputs()
    faces = np.random.default_rng(seed).uniform(-1, 1, (2, *given.shape[1:])).astype(np.float32)
    with torch.inference_mode():
        expected = load_network(model)(torch.from_numpy(faces)).numpy()
    difference = float(np.abs(session.run(None, {given.name: faces})[0] - expected).max())
    if not difference <= tolerance:
        raise CheckpointError(f"{graph} differs from torch by {difference}, allowed {tolerance}")
    return {asked.name: difference}


def check_precision(model: Path, graph: Path, precision: str, seed: int = 0) -> tuple[float, float]:
    """PSNR in dB of the graph's images against torch in float32, and the least that is allowed.

    Two crops of coarse random patches, at fidelity 1 and 0.4; images clamped to [-1,1]. Raises
    `CheckpointError` below the least.
    """
    session = open_session(graph, cpu_count())
    size = session.get_inputs()[0].shape[-1]
    coarse = np.random.default_rng(seed).uniform(-1, 1, (2, 3, size // 8, size // 8))
    lq = coarse.repeat(8, 2).repeat(8, 3).astype(np.float32)
    found, expected = _both(session, model, lq)
    psnr = image_psnr(found["image"], expected["image"])
    least = LEAST_PSNR[precision]
    if not psnr >= least:
        raise CheckpointError(f"{graph} is {psnr:.1f} dB from torch, at least {least} are asked")
    return psnr, least


def image_psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """PSNR in dB of images [n,3,h,w] clamped to [-1,1]; infinite where they are equal."""
    difference = np.clip(image, -1, 1) - np.clip(reference, -1, 1)
    error = float(np.square(difference, dtype=np.float64).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(4 / error))


def _both(
    session: Any, model: Path, lq: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Outputs of the graph and of torch, by name."""
    import torch

    from restore.checkpoints.load import load_network

    ours = model.suffix == ".safetensors" and read_header(model).get("format") == FORMAT
    network = load_network(model) if ours else load_restorer_checkpoint(model)
    fidelity = np.array([1.0, 0.4], np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(lq), torch.from_numpy(fidelity))
    names = [o.name for o in session.get_outputs()]
    values = session.run(None, {"lq": lq, "fidelity": fidelity})
    return dict(zip(names, values, strict=True)), {
        name: getattr(expected, name).numpy() for name in names
    }
