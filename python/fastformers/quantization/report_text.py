# SPDX-License-Identifier: MIT
"""The quantization report as tables that a person who has read nothing else understands; no terminal is needed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from fastformers.quantization.report import LayerReport, QuantizationReport

__all__ = ["render"]

_LEAST_WIDTH = 100


def render(report: QuantizationReport) -> str:
    """Renders a report as plain text; layers that differ only in a number of their name share a line."""
    width = max(_LEAST_WIDTH, shutil.get_terminal_size((_LEAST_WIDTH, 24)).columns)
    console = Console(file=StringIO(), width=width, no_color=True, highlight=False, legacy_windows=False)
    console.print(_layer_table(report.layers))
    for name, text in _summary(report):
        console.print(f"{name:<12} {text}", soft_wrap=True, markup=False)
    assert isinstance(console.file, StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def _layer_table(layers: Iterable[LayerReport]) -> Table:
    table = Table(title="INT8 quantization of the linear layers", title_justify="left", box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    for heading in ("N x K", "rows", "float32", "INT8", "speed-up", "SQNR"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("decision", overflow="fold")
    for group in _groups(layers):
        table.add_row(*_row(group))
    return table


def _row(group: list[LayerReport]) -> tuple[str, ...]:
    first = group[0]
    noise = [layer.sqnr_db for layer in group if layer.sqnr_db is not None]
    decision = {"int8": "INT8", "float": "float", "unchanged": "unchanged"}[first.decision]
    detail = f"with {first.activation}" if first.decision == "int8" and first.activation else first.reason
    return (
        _common_name(group),
        f"{first.shape[0]} x {first.shape[1]}",
        "\n".join(str(timing.rows) for timing in first.timings),
        "\n".join(_microseconds(timing.float_us) for timing in first.timings),
        "\n".join(_microseconds(timing.packed_us) for timing in first.timings),
        "\n".join(f"{timing.speedup:.2f}x" for timing in first.timings),
        f"{min(noise):.1f} dB" if noise else "",
        f"{decision} {detail}" if first.decision == "int8" and first.activation else _explained(decision, detail),
    )


def _explained(decision: str, detail: str) -> str:
    return decision if decision == "INT8" else f"{decision}: {detail}"


def _groups(layers: Iterable[LayerReport]) -> list[list[LayerReport]]:
    groups: dict[object, list[LayerReport]] = {}
    for layer in layers:
        times = tuple((timing.rows, timing.float_us, timing.packed_us) for timing in layer.timings)
        key = (_pattern(layer.name), layer.shape, layer.decision, layer.reason, layer.activation, times)
        groups.setdefault(key, []).append(layer)
    return list(groups.values())


def _pattern(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", f".{name}.").strip(".")


def _common_name(group: list[LayerReport]) -> str:
    return group[0].name if len(group) == 1 else f"{_pattern(group[0].name)}  ({len(group)} layers)"


def _summary(report: QuantizationReport) -> list[tuple[str, str]]:
    swapped = sum(layer.decision == "int8" for layer in report.layers)
    speed = "not measured" if report.speedup is None else f"{report.speedup:.2f}x faster together"
    before, after = report.linear_bytes
    lines = [
        ("linears", f"{swapped} of {len(report.layers)} are INT8 now; all of them, float ones included: {speed}"),
        ("memory", f"their weights: {_ratio(before, after)}; whole model: {_ratio(*report.model_bytes)}"),
        ("answers", _agreement_text(report)),
        ("calibration", report.calibration),
        ("machine", ", ".join(f"{name} {value}" for name, value in report.machine.items())),
    ]
    if any(layer.sqnr_db is not None for layer in report.layers):
        lines.append(("SQNR", "signal to quantization noise of a layer's output; the worst of a line's layers"))
    lines.extend(("note", note) for note in report.notes)
    return lines


def _agreement_text(report: QuantizationReport) -> str:
    found = report.agreement
    if found is None:
        return "not compared with float32: no tokenizer and no examples were given"
    neighbor = "" if found.nearest_neighbor is None else f"; same nearest text for {found.nearest_neighbor:.1%}"
    return (
        f"on {found.examples} examples, against float32: cosine of the outputs {found.cosine_mean:.4f} mean, "
        f"{found.cosine_worst:.4f} worst{neighbor}; {found.disagreement:.2%} differ ({found.disagreement_of})"
    )


def _ratio(before: int, after: int) -> str:
    if not before:
        return "none"
    return f"{before / 1e6:.1f} MB -> {after / 1e6:.1f} MB ({after / before:.2f}x)"


def _microseconds(value: float) -> str:
    return f"{value:.1f} us" if value < 1000 else f"{value / 1000:.2f} ms"
