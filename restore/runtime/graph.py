"""A torch module as an ONNX graph, over the weights of a safetensors file or with its own.

The module runs once on tensors without numbers, and each step becomes nodes: `module_graph`.
docs/export.md says why this is not left to `torch.onnx.export`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from restore.errors import CheckpointError, MissingExtraError
from restore.model_files import Place

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8  # onnxruntime 1.17, the oldest that the core allows, reads it
SMALL = 4096  # numbers; a larger constant belongs into the weights file
BATCH = 10007  # a prime that no size is a multiple of: what it divides is the batch, which is free
BATCH_NAME = "n"
PLACEMENT = {"layout", "pin_memory", "non_blocking", "memory_format"}  # of no graph


@dataclass(frozen=True)
class Weights:
    """Where a graph finds the tensors of a module.

    `place`: name -> where it lies; or `read`: name -> float array [...], to put it into the graph
    in `precision`: "fp32"; "fp16", which computes in float16 as well, but for what the module
    itself does in float32; or "int8": matrices and kernels as int8 with a float32 scale per row,
    the rest float16, computed in float32 (runtimes multiply scale and weight while they load).
    """

    place: Callable[[str], Place] | None = None
    read: Callable[[str], np.ndarray] | None = None
    precision: str = "fp32"

    @property
    def dtype(self) -> torch.dtype:
        """What the module computes in."""
        return torch.float16 if self.precision == "fp16" else torch.float32


def module_graph(
    module: nn.Module,
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    weights: Weights,
    properties: Mapping[str, str] | None = None,
    documentation: str = "",
) -> onnx.ModelProto:
    """The graph of `module`. `inputs`: name -> shape without the batch, which comes first.

    Inputs and outputs are float32. Each tensor of the module becomes one initialiser, by its name;
    what a module `network` inside it holds has the name that it has there. Raises `CheckpointError`
    for a step that has no ONNX counterpart here.
    """
    graph = _Graph(weights)
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        shape = torch.empty(value.shape, dtype=weights.dtype, device="meta")
        state[name] = Traced(graph, name.removeprefix("network."), shape)
    given = [
        Traced(graph, name, torch.empty(BATCH, *shape, device="meta"))
        for name, shape in inputs.items()
    ]
    graph.inputs = set(inputs)
    with torch.no_grad():
        found = torch.func.functional_call(module, state, tuple(given))
    results = [found] if isinstance(found, Tensor) else list(found)
    return graph.finish(
        {t.label: t for t in given}, dict(zip(outputs, results, strict=True)), properties,
        documentation,
    )  # fmt: skip


class Traced(Tensor):
    """A value of a graph: shape and dtype without numbers; what is done with it becomes nodes.

    Plain tensors that it meets are constants.
    """

    graph: _Graph
    label: str
    meta: Tensor

    @staticmethod
    def __new__(cls: type[Traced], graph: _Graph, name: str, meta: Tensor) -> Traced:
        made: Any = Tensor._make_wrapper_subclass(
            cls, meta.shape, strides=meta.stride(), dtype=meta.dtype, device=torch.device("cpu")
        )
        made.graph, made.label, made.meta = graph, name, meta
        return cast(Traced, made)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = {k: v for k, v in (kwargs or {}).items() if k != "device"}
        traced: list[Traced] = []

        def meta(x: Any) -> Any:
            if isinstance(x, Traced):
                traced.append(x)
                return x.meta
            return x.to("meta") if isinstance(x, Tensor) else x

        out = func(*tree_map(meta, args), **tree_map(meta, kwargs))
        graph = traced[0].graph
        name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
        lowering = LOWERINGS.get(name.removesuffix("_"))
        if lowering is None:
            raise CheckpointError(f"{name} has no ONNX counterpart in restore.runtime.graph")
        told = {k: v for k, v in kwargs.items() if k not in PLACEMENT}
        found = lowering(graph, out, *args, **told)
        if name.endswith("_"):  # in place
            args[0].label = found
            return args[0]
        if isinstance(found, str):
            return Traced(graph, found, out)
        return [Traced(graph, part, meta) for part, meta in zip(found, out, strict=True)]


@dataclass(frozen=True)
class _Node:
    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


class _Graph:
    """Nodes in the making; values are known by their names, equal nodes are one."""

    def __init__(self, weights: Weights) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingExtraError("onnx", "onnx", "Writing a graph") from error
        self.onnx, self.weights = onnx, weights
        self.inputs: set[str] = set()
        self.nodes: dict[str, _Node] = {}  # by output
        self._initialisers: dict[str, onnx.TensorProto] = {}
        self._ready: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name. The same node is added once."""
        key = repr((operator, inputs, sorted(attributes.items())))
        if key not in self._known:
            output = f"{operator.lower()}_{len(self.nodes)}"
            self.nodes[output] = _Node(operator, inputs, output, attributes)
            self._known[key] = output
        return self._known[key]

    def value(self, x: Any, dtype: torch.dtype | None = None) -> str:
        """The name of what a step was given: value, weight, plain tensor or number, as `dtype`."""
        if not isinstance(x, Traced):
            x = torch.as_tensor(x)
            return self.constant(x.to(dtype or x.dtype).numpy())
        name = x.label
        if name not in self.nodes and name not in self.inputs:
            name = self._weight(name)
        return name if dtype in (None, x.dtype) else self.cast(name, dtype)

    def cast(self, value: str, dtype: torch.dtype | None) -> str:
        """A value in another dtype."""
        proto = self.onnx.TensorProto
        return self.node("Cast", value, to=proto.FLOAT16 if dtype == torch.float16 else proto.FLOAT)

    def _weight(self, name: str) -> str:
        """A tensor of the module in the dtype that the module computes in."""
        if name not in self._ready:
            stored = self._embedded(name) if self.weights.read else self._external(name)
            wanted = "F16" if self.weights.dtype == torch.float16 else "F32"
            value = name if stored == wanted else self.cast(name, self.weights.dtype)
            if stored == "I8":
                value = self.node("Mul", value, f"{name}.scale")
            self._ready[name] = value
        return self._ready[name]

    def _external(self, name: str) -> str:
        """Point to the tensor where it lies; returns its dtype."""
        assert self.weights.place is not None
        place = self.weights.place(name)
        proto = self.onnx.TensorProto
        kinds = {"F32": proto.FLOAT, "F16": proto.FLOAT16, "BF16": proto.BFLOAT16}
        if place["dtype"] not in kinds:
            raise CheckpointError(
                f"{place['file']}: {name} is stored as {place['dtype']}; a graph reads "
                f"{', '.join(kinds)}"
            )
        tensor = proto(name=name, data_type=kinds[place["dtype"]], dims=place["shape"])
        tensor.data_location = proto.EXTERNAL
        told = {"location": place["file"], "offset": place["offset"], "length": place["length"]}
        for key, value in told.items():
            tensor.external_data.add(key=key, value=str(value))
        self._initialisers[name] = tensor
        return place["dtype"]

    def _embedded(self, name: str) -> str:
        """Put the tensor into the graph in its precision; returns its dtype."""
        assert self.weights.read is not None
        array: np.ndarray = np.asarray(self.weights.read(name), np.float32)
        if self.weights.precision == "int8" and array.ndim > 1 and array.shape[0] > 1:
            array, scale = quantised_rows(array)
            self._put(f"{name}.scale", scale)
        elif self.weights.precision != "fp32":
            array = array.astype(np.float16)
        self._put(name, array)
        return {"i1": "I8", "f2": "F16", "f4": "F32"}[array.dtype.str[1:]]

    def _put(self, name: str, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array).reshape(array.shape)
        self._initialisers[name] = self.onnx.numpy_helper.from_array(array, name)

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A small constant that lies in the graph itself; equal ones are stored once.

        Rows that repeat, as in kernels that are the same for each channel, are stored once, too.
        """
        array: np.ndarray = np.asarray(value, dtype)
        if array.ndim > 1 and array.size > 64 and (rows := _period(array)) < len(array):
            repeats = [len(array) // rows] + [1] * (array.ndim - 1)
            return self.node("Tile", self.constant(array[:rows]), self.ints(*repeats))
        if array.size > SMALL:
            raise ValueError(f"a constant of {array.size} numbers belongs into the weights file")
        digest = hashlib.sha256(array.tobytes()).hexdigest()[:8]
        name = f"constant_{array.dtype}_{'x'.join(map(str, array.shape)) or 'scalar'}_{digest}"
        if name not in self._initialisers:
            self._put(name, array)
        return name

    def array(self, constant: str) -> np.ndarray:
        """The numbers of a constant."""
        found: np.ndarray = self.onnx.numpy_helper.to_array(self._initialisers[constant])
        return found

    def ints(self, *values: int) -> str:
        """A constant int64 [k], as shapes and axes are."""
        return self.constant(values, np.int64)

    def finish(
        self,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
        properties: Mapping[str, str] | None,
        documentation: str,
    ) -> onnx.ModelProto:
        """The model, without the nodes that nothing reads."""
        helper, proto = self.onnx.helper, self.onnx.TensorProto
        ends = {
            name: self.node("Identity", self.value(x, torch.float32)) for name, x in outputs.items()
        }
        renamed = {value: name for name, value in ends.items()}
        needed = set(ends.values())
        kept = []
        for node in reversed(self.nodes.values()):
            if node.output in needed:
                needed.update(node.inputs)
                kept.append(node)
        nodes = [
            helper.make_node(
                node.operator, list(node.inputs), [renamed.get(node.output, node.output)],
                name=f"{node.operator}_{i}", **node.attributes,
            )
            for i, node in enumerate(reversed(kept))
        ]  # fmt: skip
        graph = helper.make_graph(
            nodes,
            "restore",
            [helper.make_tensor_value_info(k, proto.FLOAT, _free(x)) for k, x in inputs.items()],
            [helper.make_tensor_value_info(k, proto.FLOAT, _free(x)) for k, x in outputs.items()],
            [tensor for name, tensor in self._initialisers.items() if name in needed],
        )
        model: onnx.ModelProto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="restore",
            doc_string=documentation,
        )
        helper.set_model_props(model, dict(properties or {}))
        return model


def quantised_rows(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [o,...] -> int8 of its shape and float32 scales [o,1,...]; their product is near it.

    Symmetric, by the largest magnitude of each row: at most half a step of max|row| / 127 is lost.
    """
    axes = tuple(range(1, array.ndim))
    scale = np.abs(array).max(axis=axes, keepdims=True) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(array / scale).astype(np.int8), scale


def _period(array: np.ndarray) -> int:
    """After how many rows an array repeats itself; as many as it has where it does not."""
    for rows in range(1, len(array) // 2 + 1):
        if len(array) % rows == 0 and (array[rows:] == array[:-rows]).all():
            return rows
    return len(array)


def _free(x: Tensor) -> list[int | str]:
    """A shape with the batch by its name."""
    return [BATCH_NAME if size == BATCH else size for size in x.shape]


def _axes(x: Tensor, dims: int | Sequence[int]) -> list[int]:
    return [d % x.ndim for d in ([dims] if isinstance(dims, int) else dims)]


# Each lowering: graph, result without numbers, the operator's arguments -> name of its value.


def _same(g: _Graph, out: Tensor, x: Traced, *_: Any, **__: Any) -> str:
    return g.value(x)


def _one_to_one(operator: str) -> Callable[..., str]:
    return lambda g, out, x: g.node(operator, g.value(x))


def _binary(operator: str) -> Callable[..., str]:
    def lowering(g: _Graph, out: Tensor, a: Any, b: Any) -> str:
        return g.node(operator, g.value(a, out.dtype), g.value(b, out.dtype))

    return lowering


def _cast(g: _Graph, out: Tensor, x: Traced, dtype: torch.dtype | None = None) -> str:
    return g.value(x, dtype)


def _leaky_relu(g: _Graph, out: Tensor, x: Traced, slope: float = 0.01) -> str:
    return g.node("LeakyRelu", g.value(x), alpha=float(slope))


def _at_least(g: _Graph, out: Tensor, x: Traced, least: float) -> str:
    return g.node("Max", g.value(x), g.value(least, out.dtype))


def _power(g: _Graph, out: Tensor, x: Traced, exponent: float = 2) -> str:
    if exponent != 2:
        raise CheckpointError(f"the power {exponent} has no ONNX counterpart here, only 2 has")
    return g.node("Mul", g.value(x), g.value(x))


def _rsqrt(g: _Graph, out: Tensor, x: Traced) -> str:
    return g.node("Reciprocal", g.node("Sqrt", g.value(x)))


def _matrix(g: _Graph, x: Any, dtype: torch.dtype) -> tuple[str, int]:
    """A matrix and whether it is to be transposed, without the step that did so."""
    name = g.value(x, dtype)
    node = g.nodes.get(name)
    if node and node.operator == "Transpose" and node.attributes["perm"] == [1, 0]:
        return node.inputs[0], 1
    return name, 0


def _addmm(g: _Graph, out: Tensor, bias: Any, a: Any, b: Any) -> str:
    matrix, turned = _matrix(g, b, out.dtype)
    return g.node("Gemm", g.value(a), matrix, g.value(bias, out.dtype), transB=turned)


def _mm(g: _Graph, out: Tensor, a: Any, b: Any) -> str:
    matrix, turned = _matrix(g, b, out.dtype)
    return g.node("Gemm", g.value(a), matrix, transB=turned)


def _reduce(operator: str) -> Callable[..., str]:
    def lowering(
        g: _Graph, out: Tensor, x: Traced, dim: Any = None, keepdim: bool = False, **_: Any
    ) -> str:
        axes = _axes(x, range(x.ndim) if dim is None else dim)
        value = g.value(x, out.dtype)
        if operator == "ReduceSum":  # the only one that takes its axes as an input in this opset
            return g.node(operator, value, g.ints(*axes), keepdims=int(keepdim))
        return g.node(operator, value, axes=axes, keepdims=int(keepdim))

    return lowering


def _norm(
    g: _Graph, out: Tensor, x: Traced, order: float = 2, dim: Any = None, keepdim: bool = False,
    **_: Any,
) -> str:  # fmt: skip
    if order != 2:
        raise CheckpointError(f"a norm of order {order} has no ONNX counterpart here, only 2 has")
    return _reduce("ReduceL2")(g, out, x, dim, keepdim)


def _reshape(g: _Graph, out: Tensor, x: Traced, *_: Any) -> str:
    shape = [-1 if size % BATCH == 0 else size for size in out.shape]
    return g.node("Reshape", g.value(x), g.ints(*shape))


def _expand(g: _Graph, out: Tensor, x: Traced, *_: Any, **__: Any) -> str:
    # A batch of equal samples stays one, which the steps that follow spread themselves.
    shape = [1 if size == BATCH else size for size in out.shape]
    if [1] * (out.ndim - x.ndim) + [1 if s == BATCH else s for s in x.shape] == shape:
        return g.value(x) if out.ndim == x.ndim else _reshape(g, out, x)
    return g.node("Expand", g.value(x), g.ints(*shape))


def _permute(g: _Graph, out: Tensor, x: Traced, dims: Sequence[int]) -> str:
    return g.node("Transpose", g.value(x), perm=_axes(x, dims))


def _transpose(g: _Graph, out: Tensor, x: Traced, a: int = 0, b: int = 1) -> str:
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return _permute(g, out, x, order)


def _unsqueeze(g: _Graph, out: Tensor, x: Traced, dim: int) -> str:
    value, axis = g.value(x), _axes(out, dim)[0]
    node = g.nodes.get(value)
    if node and node.operator == "Unsqueeze" and axis == x.ndim:  # one for `[:, :, None, None]`
        return g.node("Unsqueeze", node.inputs[0], g.ints(*g.array(node.inputs[1]), axis))
    return g.node("Unsqueeze", value, g.ints(axis))


def _select(g: _Graph, out: Tensor, x: Traced, dim: int, index: int) -> str:
    return g.node("Gather", g.value(x), g.constant(index, np.int64), axis=_axes(x, dim)[0])


def _slice(
    g: _Graph, out: Tensor, x: Traced, dim: int = 0, start: int | None = None,
    end: int | None = None, step: int = 1,
) -> str:  # fmt: skip
    value, axis = g.value(x), _axes(x, dim)[0]
    if out.shape == x.shape:
        return value
    if step != 1:
        raise CheckpointError("a slice with steps has no ONNX counterpart here")
    first = (start or 0) % x.shape[axis]
    last = first + out.shape[axis]
    node = g.nodes.get(value)
    if node and node.operator == "ConvTranspose" and axis == 2:
        # The border that is cut off need not be made.
        top, left, bottom, right = node.attributes["pads"]
        pads = [top + first, left, bottom + x.shape[2] - last, right]
        return g.node("ConvTranspose", *node.inputs, **{**node.attributes, "pads": pads})
    return g.node("Slice", value, g.ints(first), g.ints(last), g.ints(axis))


def _parts(g: _Graph, out: Sequence[Tensor], x: Traced, sizes: Any, dim: int = 0) -> list[str]:
    axis, first, names = _axes(x, dim)[0], 0, []
    for part in out:
        names.append(_slice(g, part, x, axis, first))
        first += part.shape[axis]
    return names


def _cat(g: _Graph, out: Tensor, parts: Sequence[Any], dim: int = 0) -> str:
    return g.node("Concat", *(g.value(x, out.dtype) for x in parts), axis=_axes(out, dim)[0])


def _pad(g: _Graph, out: Tensor, x: Traced, pads: Sequence[int], value: float = 0) -> str:
    left, right, top, bottom = (*pads, 0, 0)[:4]
    if value or len(pads) > 4 or x.ndim != 4:
        raise CheckpointError(f"padding {list(pads)} with {value} has no ONNX counterpart here")
    return g.node("Pad", g.value(x), g.ints(0, 0, top, left, 0, 0, bottom, right))


def _convolution(
    g: _Graph, out: Tensor, x: Any, weight: Any, bias: Any, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool,
    output_padding: Sequence[int], groups: int,
) -> str:  # fmt: skip
    if any(d != 1 for d in dilation) or any(output_padding):
        raise CheckpointError("a dilated convolution has no ONNX counterpart here")
    pads = [*padding, *padding]
    value = g.value(x)
    node = g.nodes.get(value)
    if node and node.operator == "Pad" and not transposed:
        more = g.array(node.inputs[1])[[2, 3, 6, 7]]
        value = node.inputs[0]
        pads = [a + int(b) for a, b in zip(pads, more, strict=True)]
    kernel = g.value(weight, out.dtype)
    if node and node.operator == "Gather" and node.attributes["axis"] == 1 and groups == 1:
        # Channels are permuted in the weights, not in the features.
        value, order = node.inputs[0], np.argsort(g.array(node.inputs[1]))
        kernel = g.node("Gather", kernel, g.ints(*order), axis=0 if transposed else 1)
    inputs = [value, kernel]
    if bias is not None:
        inputs.append(g.value(bias, out.dtype))
    return g.node(
        "ConvTranspose" if transposed else "Conv",
        *inputs,
        kernel_shape=list(weight.shape[2:]),
        strides=list(stride),
        pads=pads,
        group=groups,
    )


def _average(
    g: _Graph, out: Tensor, x: Traced, kernel: Sequence[int], stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0), ceil: bool = False, count_pads: bool = True, *_: Any,
) -> str:  # fmt: skip
    return g.node(
        "AveragePool",
        g.value(x),
        kernel_shape=list(kernel),
        strides=list(stride or kernel),
        pads=[*padding, *padding],
        count_include_pad=int(count_pads),
    )


def _nearest(g: _Graph, out: Tensor, x: Traced, *_: Any) -> str:
    return g.node(
        "Resize", g.value(x), "", _scales(g, out, x), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


def _linear(g: _Graph, out: Tensor, x: Traced, size: Any, align_corners: bool, *_: Any) -> str:
    mode = "align_corners" if align_corners else "half_pixel"
    return g.node(
        "Resize", g.value(x), "", _scales(g, out, x), mode="linear",
        coordinate_transformation_mode=mode,
    )  # fmt: skip


def _scales(g: _Graph, out: Tensor, x: Traced) -> str:
    scales = [1, 1, *(out.shape[i] / x.shape[i] for i in (2, 3))]
    return g.constant(scales, np.float32)


def _shuffle(g: _Graph, out: Tensor, x: Traced, times: int) -> str:
    return g.node("DepthToSpace", g.value(x), blocksize=times, mode="CRD")


def _unshuffle(g: _Graph, out: Tensor, x: Traced, times: int) -> str:
    # torch counts channels (colour, phase), SpaceToDepth (phase, colour).
    order = np.arange(out.shape[1]).reshape(-1, x.shape[1]).T.reshape(-1)
    y = g.node("SpaceToDepth", g.value(x), blocksize=times)
    return g.node("Gather", y, g.ints(*order), axis=1)


LOWERINGS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("alias", "clone", "contiguous", "detach", "lift_fresh"), _same),
    **{
        name: _one_to_one(name.capitalize())
        for name in ("abs", "log", "neg", "reciprocal", "relu", "sqrt")
    },
    **{name: _binary(name.capitalize()) for name in ("add", "div", "mul", "sub")},
    **dict.fromkeys(("reshape", "view", "_unsafe_view", "flatten", "squeeze"), _reshape),
    **dict.fromkeys(("split", "split_with_sizes"), _parts),
    "_to_copy": _cast,
    "addmm": _addmm,
    "amax": _reduce("ReduceMax"),
    "avg_pool2d": _average,
    "bmm": _binary("MatMul"),
    "cat": _cat,
    "clamp_min": _at_least,
    "constant_pad_nd": _pad,
    "convolution": _convolution,
    "expand": _expand,
    "leaky_relu": _leaky_relu,
    "linalg_vector_norm": _norm,
    "mean": _reduce("ReduceMean"),
    "mm": _mm,
    "permute": _permute,
    "pow": _power,
    "pixel_shuffle": _shuffle,
    "pixel_unshuffle": _unshuffle,
    "rsqrt": _rsqrt,
    "rsub": lambda g, out, a, b: LOWERINGS["sub"](g, out, b, a),
    "select": _select,
    "slice": _slice,
    "sum": _reduce("ReduceSum"),
    "t": _transpose,
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
    "upsample_bilinear2d": _linear,
    "upsample_nearest2d": _nearest,
}
