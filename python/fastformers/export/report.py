# SPDX-License-Identifier: MIT
"""What an export wrote and how it compares with the model; also the file beside the graph that says how to call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DESCRIPTION_SCHEMA", "ExportReport", "description_file", "graph_name", "model_file"]

DESCRIPTION_SCHEMA = "fastformers-onnx/1"


def graph_name(precision: str, native: str | None) -> str:
    """Returns what tells a graph from the others of its folder.

    Args:
        precision: of the graph.
        native: what our operators hold, ``"encoder"`` or ``"layers"``; ``None`` for a graph without them.

    Example:
        >>> graph_name("int8-fastformers", "layers")
        'int8-fastformers-layers'
    """
    return f"{precision}-layers" if native == "layers" else precision


def model_file(graph: str) -> str:
    """Returns the name of the graph's file."""
    return f"model-{graph}.onnx"


def description_file(graph: str) -> str:
    """Returns the name of the file that describes the graph."""
    return f"model-{graph}.json"


@dataclass(frozen=True)
class ExportReport:
    """One exported graph.

    Attributes:
        precision: ``"fp32"``, ``"fp16"``, ``"int8"`` or ``"int8-fastformers"``.
        opset: of the standard operators.
        domains: other domains of operators that the graph uses.
        inputs: names.
        outputs: names.
        fused: block -> (written fused, in all); empty for a graph of one node.
        megabytes: of the file.
        load_seconds: a session took to open; 0 without a check.
        checked: output -> largest difference, mean and least cosine with the float32 model, and texts compared; empty
            without a check.
        checked_on: what was compared, in words.
        max_length: tokens after which texts are cut.
        token_types: tell the model which text of a pair a token belongs to.
        labels: names of the classes; ``None`` where the model names none.
        num_spans: marked spans of a text, 0 for other models.
        notes: what the user should know.
        native: what our operators hold, ``"encoder"`` or ``"layers"``; ``None`` for a graph without them.
        native_blocks: kind of block -> (how many our operators compute, how many there are), of ``"layers"``.
        engine: as ``checked``, but compared with our engine, of ``"layers"``.
        truncation_side: ``"left"`` or ``"right"``, where texts are cut.
        many_labels: a text may have several labels, each with a probability of its own.
        only_pairs: the model compares the two texts of a pair, and takes no single ones.
    """

    precision: str
    opset: int
    domains: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fused: Mapping[str, tuple[int, int]]
    megabytes: float
    load_seconds: float
    checked: Mapping[str, Mapping[str, float]]
    checked_on: str
    max_length: int
    token_types: bool
    labels: tuple[str, ...] | None
    num_spans: int
    notes: tuple[str, ...] = ()
    native: str | None = None
    native_blocks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    engine: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    truncation_side: str = "right"
    many_labels: bool = False
    only_pairs: bool = False

    @property
    def graph(self) -> str:
        """What tells the graph from the others of its folder, and what ``OrtModel`` opens it by."""
        return graph_name(self.precision, self.native)

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return {"schema": DESCRIPTION_SCHEMA, "file": model_file(self.graph), **asdict(self)}

    def path(self, folder: Path) -> Path:
        """Returns the graph's file in a folder."""
        return folder / model_file(self.graph)

    def __str__(self) -> str:
        """Returns a few lines for people."""
        domains = f" and {', '.join(self.domains)}" if self.domains else ""
        opened = f", opened in {self.load_seconds:.2f} s" if self.checked else ""
        lines = [
            f"{model_file(self.graph)}: {self.megabytes:.1f} MB, opset {self.opset}{domains}{opened}",
            f"  inputs {', '.join(self.inputs)}; outputs {', '.join(self.outputs)}; batch and length dynamic",
        ]
        if self.native_blocks:
            lines.append(f"  in fastformers' kernels: {_counted(self.native_blocks)}")
        if self.fused:
            lines.append(f"  written fused: {_counted(self.fused)}")
        for name, numbers in self.checked.items():
            lines.append(
                f"  {name}: largest difference {numbers['max_abs']:.2g}, cosine {numbers['cosine']:.5f} "
                f"(worst {numbers['worst']:.5f}) with {self.checked_on}"
            )
        lines += [] if self.checked else ["  not compared with the model"]
        for name, numbers in self.engine.items():
            lines.append(
                f"  {name}: largest difference {numbers['max_abs']:.2g}, cosine {numbers['cosine']:.6f} "
                f"(worst {numbers['worst']:.6f}) with our engine"
            )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def _counted(blocks: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{done} of {count} {name}" for name, (done, count) in blocks.items())
