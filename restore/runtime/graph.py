"""An ONNX graph under construction whose weights stay where they are: in a safetensors file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from restore.errors import CheckpointError, MissingExtraError
from restore.runtime.layout import LAYOUT_KEY, layout_sha256

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8  # onnxruntime 1.17, the oldest that the core allows, reads it
SMALL = 4096  # numbers; a larger constant belongs into the weights file


class GraphBuilder:
    """Collects nodes; values are known by their names.

    `tensors`: the weights file's tensors as `read_header` gives them; `location`: its file name,
    relative to the graph. Each tensor becomes one initialiser, however often it is used, and is
    cast to float32 once where it is stored shorter; runtimes do that while they load.
    """

    def __init__(self, tensors: Mapping[str, Mapping[str, Any]], location: str) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingExtraError("onnx", "onnx", "Writing a graph") from error
        self._onnx = onnx
        self._tensors = tensors
        self._location = location
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: dict[str, onnx.TensorProto] = {}
        self._ready: dict[str, str] = {}

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

    def weight(self, name: str) -> str:
        """A tensor of the weights file as a float32 value."""
        if name in self._ready:
            return self._ready[name]
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
        for key in ("location", "offset", "length"):
            value = self._location if key == "location" else str(place[key])
            tensor.external_data.add(key=key, value=value)
        self._initialisers[name] = tensor
        self._ready[name] = name
        if place["dtype"] != "F32":
            self._ready[name] = self.node("Cast", name, to=proto.FLOAT)
        return self._ready[name]

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """A small constant that lies in the graph itself; equal ones are stored once."""
        array: np.ndarray = np.asarray(value, dtype)
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
        """Add a node with one output; returns the output's name."""
        output = f"{operator.lower()}_{len(self._nodes)}"
        self._add(operator, inputs, [output], attributes)
        return output

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
        padding: int | None = None,
    ) -> str:
        """Convolution with values as weights; `padding` keeps the size at stride 1 unless given."""
        pad = kernel // 2 if padding is None else padding
        inputs = (x, weight) if bias is None else (x, weight, bias)
        return self.node(
            "Conv",
            *inputs,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
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
        scales = self.constant([1, 1, 2, 2])
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
        """The model: inputs `lq` [n,3,s,s] and `fidelity` [n]; `outputs`: name -> value."""
        helper, proto = self._onnx.helper, self._onnx.TensorProto
        shapes: dict[str, list[int | str]] = {
            "lq": ["n", 3, size, size],
            "fidelity": ["n"],
            "image": ["n", 3, size, size],
            "degradation": ["n", 6],
        }
        for name, value in outputs.items():
            self._add("Identity", [value], [name], {})
        graph = helper.make_graph(
            self._nodes,
            "restore",
            [helper.make_tensor_value_info(k, proto.FLOAT, shapes[k]) for k in ("lq", "fidelity")],
            [helper.make_tensor_value_info(k, proto.FLOAT, shapes[k]) for k in outputs],
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
