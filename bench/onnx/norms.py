# SPDX-License-Identifier: MIT
"""Time of ONNX Runtime's fused operators on CPUs, and of the parts they are made of.

usage: python -m bench.onnx.norms [--threads 1] [--rounds 9]

The CPU operators for residual + LayerNorm and for bias + GELU were slower than their parts when this was written;
``fastformers.export.encoder_graph`` writes the parts where that is so. ``Sum`` instead of ``Add``, because a session
turns ``Add`` and LayerNorm into the fused operator.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from fastformers.export.session import open_session, session_options
from fastformers.measuring import interleave, spread, time_block

REPEATS = 20  # of the operators in a graph, so that the call itself weighs little
SHAPES = ((1, 16, 384), (1, 128, 384), (8, 128, 384), (1, 128, 768))

Node = tuple[str, list[str], str]  # operator, inputs, domain; "x" is the value so far, "t" the node before
NORM: Node = ("LayerNormalization", ["t", "weight", "bias"], "")
#: What the table calls it -> nodes.
FORMS: dict[str, list[Node]] = {
    "SkipLayerNormalization": [
        ("SkipLayerNormalization", ["x", "skip", "weight", "bias", "added"], "com.microsoft")
    ],
    "Sum of 3, LayerNormalization": [("Sum", ["x", "skip", "added"], ""), NORM],
    "Sum of 2, LayerNormalization": [("Sum", ["x", "skip"], ""), NORM],
    "BiasGelu": [("BiasGelu", ["x", "added"], "com.microsoft")],
    "Gelu": [("Gelu", ["x"], "com.microsoft")],
}


def graph_of(nodes: list[Node], width: int) -> bytes:
    """A chain of ``REPEATS`` times these nodes, x and skip [batch, length, width] -> the last value."""
    from onnx import TensorProto, helper, numpy_helper

    made, x = [], "x"
    for number in range(REPEATS):
        before = ""
        for place, (operator, inputs, domain) in enumerate(nodes):
            names = [{"x": x, "t": before}.get(name, name) for name in inputs]
            before = f"{number}/{place}"
            epsilon = {"epsilon": 1e-12} if operator.endswith("LayerNormalization") else {}
            made.append(helper.make_node(operator, names, [before], domain=domain, **epsilon))
        x = before
    shape = ["batch", "length", width]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "skip", x)]
    values = {"weight": np.ones(width), "bias": np.zeros(width), "added": np.full(width, 0.1)}
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    graph = helper.make_graph(made, "chain", info[:2], info[2:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def reading(session: Any, inputs: dict[str, Any]) -> Callable[[int], float]:
    """Seconds of one form in one round."""
    fed = {entry.name: inputs[entry.name] for entry in session.get_inputs()}
    return lambda _: time_block(lambda: session.run(None, fed), 0.1) / REPEATS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    draw = np.random.default_rng(0)
    columns = []
    for shape in SHAPES:
        inputs = {name: draw.standard_normal(shape).astype(np.float32) for name in ("x", "skip")}
        readings = {
            name: reading(open_session(graph_of(nodes, shape[-1]), session_options(options.threads)), inputs)
            for name, nodes in FORMS.items()
        }
        columns.append(interleave(readings, options.rounds))
    print("| microseconds | " + " | ".join(" x ".join(map(str, shape)) for shape in SHAPES) + " |")
    print("|---|" + "---|" * len(SHAPES))
    for name in FORMS:
        told = [spread(column[name]).scaled(1e6) for column in columns]
        print(
            f"| {name} | "
            + " | ".join(f"{each.median:.1f} ({each.low:.1f} to {each.high:.1f})" for each in told)
            + " |"
        )


if __name__ == "__main__":
    main()
