# SPDX-License-Identifier: MIT
"""The quantization report as text that a person who has read nothing else understands; no terminal is needed."""

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

_LEAST_WIDTH = 116


def render(report: QuantizationReport) -> str:
    """Renders a report as plain text; layers that differ only in a number of their name share a line."""
    width = max(_LEAST_WIDTH, shutil.get_terminal_size((_LEAST_WIDTH, 24)).columns)
    file = StringIO()
    console = Console(file=file, width=width, no_color=True, highlight=False, legacy_windows=False)
    groups = _groups(report.layers)
    console.print(_layer_table(groups))
    for name, text in [*_stayed_float(groups), *_summary(report)]:
        console.print(f"{name:<12} {text}", soft_wrap=True, markup=False)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _layer_table(groups: list[list[LayerReport]]) -> Table:
    table = Table(
        title="INT8 quantization of the linear layers", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("layers", overflow="fold")
    for heading in ("", "N x K", "rows M", "float32", "INT8", "speed-up", "SQNR"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("now", no_wrap=True)
    for group in groups:
        table.add_row(*_row(group))
    return table


def _row(group: list[LayerReport]) -> tuple[str, ...]:
    first = group[0]
    noise = [layer.sqnr_db for layer in group if layer.sqnr_db is not None]
    now = {"int8": "INT8", "float": "float", "unchanged": "INT8 before"}[first.decision]
    return (
        _common_name(group),
        f"{len(group)} of" if len(group) > 1 else "",
        f"{first.shape[0]} x {first.shape[1]}",
        "\n".join(str(timing.rows) for timing in first.timings),
        "\n".join(_microseconds(timing.float_us) for timing in first.timings),
        "\n".join(_microseconds(timing.packed_us) for timing in first.timings),
        "\n".join(f"{timing.speedup:.2f}x" for timing in first.timings),
        f"{min(noise):.1f} dB" if noise else "",
        now if first.activation is None else f"{now} + {first.activation}",
    )


def _groups(layers: Iterable[LayerReport]) -> list[list[LayerReport]]:
    groups: dict[object, list[LayerReport]] = {}
    for layer in layers:
        times = tuple((timing.rows, timing.float_us, timing.packed_us) for timing in layer.timings)
        kept = layer.reason if layer.decision == "float" else None
        key = (_pattern(layer.name), layer.shape, layer.decision, kept, layer.activation, times)
        groups.setdefault(key, []).append(layer)
    return list(groups.values())


def _pattern(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", f".{name}.").strip(".")


def _common_name(group: list[LayerReport]) -> str:
    return group[0].name if len(group) == 1 else _pattern(group[0].name)


def _stayed_float(groups: list[list[LayerReport]]) -> list[tuple[str, str]]:
    return [
        ("stays float", f"{_common_name(group)}: {group[0].reason}")
        for group in groups
        if group[0].decision == "float"
    ]


def _summary(report: QuantizationReport) -> list[tuple[str, str]]:
    swapped = sum(layer.decision == "int8" for layer in report.layers)
    speed = (
        "not timed"
        if report.speedup is None
        else f"all that were timed: {report.speedup:.2f}x as fast as before"
    )
    before, after = report.linear_bytes
    weights = f"weights of the swapped layers {_ratio(before, after)}; " if before else ""
    lines = [
        ("linears", f"{swapped} of {len(report.layers)} were swapped for INT8; {speed}"),
        ("memory", f"{weights}whole model {_ratio(*report.model_bytes)}"),
        ("answers", _agreement_text(report)),
        ("calibration", report.calibration),
        ("machine", ", ".join(f"{name} {value}" for name, value in report.machine.items())),
    ]
    if any(layer.sqnr_db is not None for layer in report.layers):
        lines.append(
            ("SQNR", "signal to quantization noise of a layer's output; the worst of a line's layers")
        )
    lines.extend(("note", note) for note in report.notes)
    return lines


def _agreement_text(report: QuantizationReport) -> str:
    found = report.agreement
    if found is None:
        swapped = any(layer.decision == "int8" for layer in report.layers)
        return (
            f"not compared with float32: {'no tokenizer, no examples' if swapped else 'nothing was swapped'}"
        )
    neighbor = (
        "" if found.nearest_neighbor is None else f"; same nearest text for {found.nearest_neighbor:.1%}"
    )
    return (
        f"on {found.examples} examples, against float32: cosine of the outputs {found.cosine_mean:.4f} mean, "
        f"{found.cosine_worst:.4f} worst{neighbor}; {found.disagreement:.2%} differ ({found.disagreement_of})"
    )


def _ratio(before: int, after: int) -> str:
    return f"{before / 1e6:.1f} MB -> {after / 1e6:.1f} MB ({after / before:.2f}x)" if before else "0 MB"


def _microseconds(value: float) -> str:
    return f"{value:.1f} us" if value < 1000 else f"{value / 1000:.2f} ms"
