"""An ONNX graph under construction, over the weights of a safetensors file or with its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from restore.config.graph_layout import LAYOUT_KEY, layout_sha256
from restore.config.model_header import Place
from restore.errors import CheckpointError, MissingExtraError

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8  # onnxruntime 1.17, the oldest that the core allows, reads it
SMALL = 4096  # numbers; a larger constant belongs into the weights file
PRECISIONS = ("fp32", "fp16", "int8")
ReadTensor = Callable[[str], np.ndarray]


class GraphBuilder:
    """Collects nodes; values are known by their names.

    `tensors`: where the model's tensors lie (`tensor_places`), in files beside the graph;
    `location`: what the model is called in messages. Each tensor becomes one initialiser, however
    often it is used, and is cast to float32 once where it is stored shorter; runtimes do that while
    they load.

    With `read` (name -> float array) the weights lie in the graph itself, as `precision` says:
    "fp32"; "fp16", which computes in float16 as well, but for what needs the range (`wide`); or
    "int8": matrices and kernels as int8 with a float32 scale per row, the rest float16, computed in
    float32 (runtimes multiply scale and weight while they load).
    """

    def __init__(
        self,
        tensors: Mapping[str, Place],
        location: str,
        read: ReadTensor | None = None,
        precision: str = "fp32",
    ) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingExtraError("onnx", "onnx", "Writing a graph") from error
        self._onnx = onnx
        self._tensors = tensors
        self._location = location
        self._read, self._precision = read, precision
        self._half = precision == "fp16"
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: dict[str, onnx.TensorProto] = {}
        self._ready: dict[tuple[str, bool], str] = {}
        self._results: dict[str, str] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor of the weights file."""
        if name not in self._tensors:
            raise CheckpointError(f"{self._location} has no tensor {name!r}; it cannot be exported")
        return tuple(self._tensors[name]["shape"])

    def count(self, pattern: str) -> int:
        """How many tensors the weights file has under `pattern` with {} counted up from 0."""
        count = 0
        while pattern.format(count) in self._tensors:
            count += 1
        return count

    def weight(self, name: str, wide: bool = False) -> str:
        """A tensor of the weights file as a value; `wide` for float32 in every precision."""
        key = (name, wide and self._half)
        if key not in self._ready:
            stored, dtype = self._embedded(name) if self._read else self._external(name)
            wanted = "F16" if self._half and not wide else "F32"
            if dtype == "I8":
                scale = self._initialisers[f"{name}.scale"].name
                self._ready[key] = self.mul(self._cast(stored, "F32"), scale)
            else:
                self._ready[key] = stored if dtype == wanted else self._cast(stored, wanted)
        return self._ready[key]

    def _external(self, name: str) -> tuple[str, str]:
        """The tensor where it lies in the weights file, and its dtype."""
        shape = self.shape(name)
        place = self._tensors[name]
        proto = self._onnx.TensorProto
        kinds = {"F32": proto.FLOAT, "F16": proto.FLOAT16, "BF16": proto.BFLOAT16}
        if place["dtype"] not in kinds:
            raise CheckpointError(
                f"{self._location}: {name} is stored as {place['dtype']}; a graph reads "
                f"{', '.join(kinds)}"
            )
        tensor = proto(name=name, data_type=kinds[place["dtype"]], dims=shape)
        tensor.data_location = proto.EXTERNAL
        told = {"location": place["file"], "offset": place["offset"], "length": place["length"]}
        for key, value in told.items():
            tensor.external_data.add(key=key, value=str(value))
        self._initialisers[name] = tensor
        return name, place["dtype"]

    def _embedded(self, name: str) -> tuple[str, str]:
        """The tensor put into the graph in its precision, and its dtype."""
        assert self._read is not None
        self.shape(name)
        array: np.ndarray = np.asarray(self._read(name), np.float32)
        if self._precision == "int8" and array.ndim > 1 and array.shape[0] > 1:
            array, scale = quantised_rows(array)
            self._put(f"{name}.scale", scale)
        elif self._precision != "fp32":
            array = array.astype(np.float16)
        self._put(name, array)
        return name, {"i1": "I8", "f2": "F16", "f4": "F32"}[array.dtype.str[1:]]

    def _put(self, name: str, array: np.ndarray) -> None:
        tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        self._initialisers[name] = tensor

    def _cast(self, value: str, dtype: str) -> str:
        proto = self._onnx.TensorProto
        return self.node("Cast", value, to=proto.FLOAT16 if dtype == "F16" else proto.FLOAT)

    def wide(self, value: str) -> str:
        """A value of the graph's own precision in float32."""
        return self._cast(value, "F32") if self._half else value

    def native(self, value: str) -> str:
        """A float32 value in the graph's own precision."""
        return self._cast(value, "F16") if self._half else value

    @property
    def half(self) -> bool:
        """Whether the graph computes in float16."""
        return self._half

    def constant(self, value: Any, dtype: type = np.float32, wide: bool = False) -> str:
        """A small constant that lies in the graph itself; equal ones are stored once.

        Floating constants have the graph's own precision; `wide` ones are float32.
        """
        narrow = self._half and dtype is np.float32 and not wide
        array: np.ndarray = np.asarray(value, np.float16 if narrow else dtype)
        if array.size > SMALL:
            raise ValueError(f"a constant of {array.size} numbers belongs into the weights file")
        digest = hashlib.sha256(array.tobytes()).hexdigest()[:8]
        name = f"constant_{array.dtype}_{'x'.join(map(str, array.shape)) or 'scalar'}_{digest}"
        if name not in self._initialisers:
            self._initialisers[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def ints(self, *values: int) -> str:
        """A constant int64 [k], as shapes and axes are."""
        return self.constant(values, np.int64)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name. The same node is added once."""
        key = repr((operator, inputs, sorted(attributes.items())))
        if key not in self._results:
            self._results[key] = f"{operator.lower()}_{len(self._nodes)}"
            self._add(operator, inputs, [self._results[key]], attributes)
        return self._results[key]

    def _add(
        self, operator: str, inputs: Sequence[str], outputs: list[str], attributes: dict[str, Any]
    ) -> None:
        name = f"{operator}_{len(self._nodes)}"
        make = self._onnx.helper.make_node
        self._nodes.append(make(operator, list(inputs), outputs, name=name, **attributes))

    def add(self, a: str, b: str) -> str:
        """a + b."""
        return self.node("Add", a, b)

    def mul(self, a: str, b: str) -> str:
        """a * b."""
        return self.node("Mul", a, b)

    def unforeseen_one(self, fidelity: str) -> str:
        """Ones [n,1,1,1], from an input [n] in [0,1]: a runtime cannot fold what they multiply.

        Runtimes add noise [1,1,h,w] and bias [c] to one constant [c,h,w] while they load and then
        read that from memory in each pass: slower than adding both in turn.
        """
        above = self.add(fidelity, self.constant(1.0))
        return self.node("Unsqueeze", self.node("Div", above, above), self.ints(1, 2, 3))

    def leaky_relu(self, x: str, slope: float = 0.2) -> str:
        """Leaky ReLU."""
        return self.node("LeakyRelu", x, alpha=slope)

    def conv(
        self,
        x: str,
        weight: str,
        bias: str | None = None,
        kernel: int = 3,
        stride: int = 1,
        group: int = 1,
        pads: Sequence[int] | None = None,
    ) -> str:
        """Convolution with values as weights; `pads` (top, left, bottom, right) keep the size at
        stride 1 unless given."""
        inputs = (x, weight) if bias is None else (x, weight, bias)
        return self.node(
            "Conv",
            *inputs,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4 if pads is None else list(pads),
            group=group,
        )

    def conv_of(self, x: str, module: str, stride: int = 1) -> str:
        """The nn.Conv2d named `module` of the weights file."""
        kernel = self.shape(f"{module}.weight")[-1]
        bias = f"{module}.bias"
        found = self.weight(bias) if bias in self._tensors else None
        return self.conv(x, self.weight(f"{module}.weight"), found, kernel, stride)

    def linear_of(self, x: str, module: str) -> str:
        """The nn.Linear named `module` of the weights file, on [n,c]."""
        weight, bias = self.weight(f"{module}.weight"), self.weight(f"{module}.bias")
        return self.node("Gemm", x, weight, bias, transB=1)

    def slice(self, x: str, start: int, end: int, axis: int) -> str:
        """x[start:end] along an axis."""
        return self.node("Slice", x, self.ints(start), self.ints(end), self.ints(axis))

    def to_map(self, x: str) -> str:
        """[n,c] -> [n,c,1,1]."""
        return self.node("Unsqueeze", x, self.ints(2, 3))

    def enlarge(self, x: str, mode: str) -> str:
        """[n,c,h,w] -> [n,c,2h,2w], "nearest" or "linear" as torch does it (pixel centres)."""
        scales = self.constant([1, 1, 2, 2], wide=True)
        if mode == "nearest":
            return self.node(
                "Resize", x, "", scales, mode=mode,
                coordinate_transformation_mode="asymmetric", nearest_mode="floor",
            )  # fmt: skip
        return self.node(
            "Resize", x, "", scales, mode=mode, coordinate_transformation_mode="half_pixel"
        )

    def finish(
        self, size: int, outputs: Mapping[str, str], documentation: str = ""
    ) -> onnx.ModelProto:
        """A restorer: inputs `lq` [n,3,s,s] and `fidelity` [n]; `outputs`: name -> value."""
        shapes: dict[str, list[int | str]] = {
            "image": ["n", 3, size, size],
            "degradation": ["n", 6],
        }
        return self.model(
            {"lq": ["n", 3, size, size], "fidelity": ["n"]},
            {name: (value, shapes[name]) for name, value in outputs.items()},
            documentation,
        )

    def model(
        self,
        inputs: Mapping[str, list[int | str]],
        outputs: Mapping[str, tuple[str, list[int | str]]],
        documentation: str = "",
    ) -> onnx.ModelProto:
        """The model. `inputs`: name -> shape; `outputs`: name -> (value, shape); all float32."""
        helper, proto = self._onnx.helper, self._onnx.TensorProto
        for name, (value, _) in outputs.items():
            if self._half:
                self._add("Cast", [value], [name], {"to": proto.FLOAT})
            else:
                self._add("Identity", [value], [name], {})
        results = {name: shape for name, (_, shape) in outputs.items()}
        graph = helper.make_graph(
            self._nodes,
            "restore",
            [helper.make_tensor_value_info(k, proto.FLOAT, s) for k, s in inputs.items()],
            [helper.make_tensor_value_info(k, proto.FLOAT, s) for k, s in results.items()],
            list(self._initialisers.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="restore",
            doc_string=documentation,
        )
        helper.set_model_props(model, {LAYOUT_KEY: layout_sha256(self._tensors)})
        return model


def quantised_rows(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [o,...] -> int8 of its shape and float32 scales [o,1,...]; their product is near it.

    Symmetric, by the largest magnitude of each row: at most half a step of max|row| / 127 is lost.
    """
    axes = tuple(range(1, array.ndim))
    scale = np.abs(array).max(axis=axes, keepdims=True) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(array / scale).astype(np.int8), scale
