# SPDX-License-Identifier: MIT
"""Collects the nodes and constants of an ONNX graph, names values, and counts what was written fused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastformers._optional import require
from fastformers.errors import UnsupportedModelError

__all__ = ["CONTRIB", "DOMAIN", "OPSET", "GraphBuilder"]

#: Domain of ONNX Runtime's own operators.
CONTRIB = "com.microsoft"
#: Domain of the operators in ``csrc/ort``.
DOMAIN = "fastformers"
#: Of the standard operators: the first with LayerNormalization, which every ONNX Runtime from 1.13 on reads.
OPSET = 17
_IR_VERSION = 8
_LARGEST_HALF = float(np.finfo(np.float16).max)


class GraphBuilder:
    """A graph being written, node after node.

    Args:
        half: floats are float16 inside; inputs and outputs are as without. ONNX Runtime's attention and LayerNorm take
            float16 and accumulate in float32.

    Attributes:
        half: the argument.
        float_type: ``TensorProto`` type of floats inside, for nodes that convert.
        fused: how often each fused block was written, by its name.
    """

    def __init__(self, half: bool = False) -> None:
        self.half = half
        self.float_type = 10 if half else 1  # TensorProto.FLOAT16, FLOAT
        self._onnx = require("onnx", "onnx", "exporting to ONNX")
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._used: Counter[str] = Counter()
        self._outputs: list[Any] = []
        self._inputs: list[Any] = []
        self.fused: Counter[str] = Counter()

    def input(self, name: str, kind: type[Any], shape: Sequence[str | int]) -> str:
        """Declares an input of the graph; ``kind`` is a NumPy type, names in ``shape`` are dynamic sizes."""
        self._inputs.append(self._info(name, kind, shape))
        return name

    def output(self, name: str, value: str, shape: Sequence[str | int]) -> None:
        """Declares an output of the graph, float32."""
        converts = {"to": 1} if self.half else {}
        operator = "Cast" if converts else "Identity"
        made = self._onnx.helper.make_node(operator, [value], [name], name=f"output/{name}", **converts)
        self._nodes.append(made)
        self._outputs.append(self._info(name, np.float32, shape))

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        place: str,
        *,
        domain: str = "",
        outputs: int = 1,
        **attributes: Any,
    ) -> str:
        """Adds a node and returns the name of its first output.

        Args:
            operator: its type.
            inputs: names of values; ``""`` leaves an optional one out.
            place: where in the model it stands, e.g. ``"layers.3.ffn"``: the beginning of its name.
            domain: ``""`` for the standard operators, or :data:`CONTRIB`.
            outputs: how many; the further ones are found by :meth:`further`.
            **attributes: of the operator.
        """
        name = self._name(f"{place}/{operator}")
        names = [name if number == 0 else self.further(name, number) for number in range(outputs)]
        made = self._onnx.helper.make_node(
            operator, list(inputs), names, name=name, domain=domain, **attributes
        )
        self._nodes.append(made)
        return name

    @staticmethod
    def further(first: str, number: int) -> str:
        """Returns the name of output ``number`` of the node whose first output is ``first``."""
        return f"{first}#{number}"

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Adds a constant, once: the same name means the same value.

        Raises:
            UnsupportedModelError: a number is too large for a float16 graph.
        """
        if name not in self._constants:
            stored = self._stored(name, value)
            self._constants[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(stored), name)
        return name

    def _stored(self, name: str, value: NDArray[Any]) -> NDArray[Any]:
        if not self.half or value.dtype != np.float32:
            return value
        largest = float(np.abs(value).max(initial=0.0))
        if largest > _LARGEST_HALF:
            raise UnsupportedModelError(
                f"{name} holds {largest:g}, and float16 ends at {_LARGEST_HALF:g}: export as 'fp32' or 'int8'"
            )
        return value.astype(np.float16)

    def number(self, value: float | int | Sequence[int], kind: type[Any] = np.float32) -> str:
        """Adds a small constant that is named by its value."""
        array = np.array(value, kind)
        words = "x".join(map(str, array.reshape(-1).tolist()))
        return self.constant(f"const/{array.dtype}{list(array.shape)}/{words}", array)

    def model(self, metadata: dict[str, str], domains: Sequence[str] = (CONTRIB,)) -> Any:
        """Returns the finished ``onnx.ModelProto``."""
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, "encoder", self._inputs, self._outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
        made = helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="fastformers"
        )
        helper.set_model_props(made, metadata)
        return made

    def _info(self, name: str, kind: type[Any], shape: Sequence[str | int]) -> Any:
        helper = self._onnx.helper
        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), list(shape)
        )

    def _name(self, wanted: str) -> str:
        self._used[wanted] += 1
        return wanted if self._used[wanted] == 1 else f"{wanted}.{self._used[wanted]}"
