# SPDX-License-Identifier: MIT
"""Prints what :mod:`fastformers.benchmarking.explain` found: one table, layers that are alike in one block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastformers.benchmarking.explain import Explanation, LayerFacts, Part, Unsupported
from fastformers.counted import counted

__all__ = ["show_explanation", "show_unsupported"]

_BYTES_PER_MB = 1e6
_MACS_PER_UNIT = 1e6


def show_explanation(console: Console, found: Explanation) -> None:
    """Prints model, layers, totals and what the figures mean."""
    console.print(f"[bold]{escape(found.model)}[/], {found.kind}: {_outputs(found)}", highlight=False)
    console.print(f"Counted for {_texts(found.lengths)}, on {_machine(found)}.\n", highlight=False)
    console.print("A layer is heads x channels of a head, and the width of its feed-forward network.")
    console.print(_table(found))
    totals = found.totals()
    lines = [
        f"Embedding tables: {found.table_bytes / _BYTES_PER_MB:.1f} MB, read row by row.",
        f"INT8: {100 * totals['int8_share']:.1f} % of the multiply-accumulates.",
        *_reasons(found.parts),
    ]
    if found.held_bytes is not None:
        lines.append(
            f"Held when packed here, padding included: {found.held_bytes / _BYTES_PER_MB:.1f} MB for any number of "
            "instances."
        )
    if totals["microseconds"] is not None:
        lines.append(
            "Times are what the matmuls take at the ceiling; LayerNorm, softmax, GELU, tokenizing and waiting for "
            "memory come on top. fastformers bench measures them."
        )
    for line in [*lines, *found.notes, *_notes(found.parts)]:
        console.print(f"- {escape(line)}", highlight=False)


def show_unsupported(console: Console, found: Unsupported) -> None:
    """Prints what is not covered, and what can be done."""
    console.print(f"[bold]{escape(found.model)}[/] cannot be compiled.", highlight=False)
    console.print(f"- Not covered: {escape(found.problem)}.", highlight=False)
    if found.quantize is None:
        console.print("- It holds no linear layer, so there is nothing to quantize either.", highlight=False)
        return
    cover = found.quantize
    console.print(
        f"- [bold]fastformers quantize[/] (ff.quantize_) can make {cover.int8_layers} of its {cover.linear_layers} "
        f"linear layers INT8, {100 * cover.weight_share:.0f} % of their weights.",
        highlight=False,
    )


def _outputs(found: Explanation) -> str:
    rows = {"all": "all rows", "first": "first row", "mean": "mean of the rows"}
    listed = ", ".join(f"{name} ({rows[which]})" for name, which in found.outputs.items())
    return f"{len(found.layers)} layers of width {found.hidden}, puts out {escape(listed)}"


def _texts(lengths: dict[str, float]) -> str:
    if lengths["texts"] == 1:
        return f"one text of {lengths['mean']:g} tokens"
    return (
        f"a text, mean of {lengths['texts']:g}, {lengths['shortest']:g} to {lengths['longest']:g} tokens "
        f"(mean {lengths['mean']:.1f})"
    )


def _machine(found: Explanation) -> str:
    limits = found.ceilings
    threads = counted(limits.threads, "thread")
    if limits.int8_gops is None or limits.float_gflops is None:
        return f"{limits.isa}, {threads}: {limits.float_source}, so no times"
    return (
        f"{limits.isa}, {threads}: ceiling {limits.int8_gops:.0f} GOP/s INT8, {limits.float_gflops:.0f} GFLOP/s "
        f"float32 ({limits.float_source})"
    )


def _table(found: Explanation) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer", no_wrap=True)
    for title in ("N x K", "M macs", "share", "precision", "MB", "us"):
        table.add_column(title, justify="right", no_wrap=True)
    for alike in _alike(found.layers):
        first = alike[0]
        table.add_row(f"[bold]{_range(alike)}: {_shape(first)}[/]")
        for part in first.parts:
            _add_part(table, part, "  ")
        if len(alike) > 1:
            table.add_row(f"  x {len(alike)}", "", *_sums(_parts(alike), found))
    for part in found.others:
        _add_part(table, part, "")
    table.add_section()
    table.add_row("[bold]total[/]", "", *_sums(found.parts, found))
    return table


def _alike(layers: Sequence[LayerFacts]) -> Iterator[list[LayerFacts]]:
    """Neighbouring layers that differ in nothing but their number."""
    block: list[LayerFacts] = []
    for layer in layers:
        if block and replace(layer, index=block[0].index) != block[0]:
            yield block
            block = []
        block.append(layer)
    if block:
        yield block


def _range(layers: Sequence[LayerFacts]) -> str:
    first, last = layers[0].index, layers[-1].index
    return f"{first}" if first == last else f"{first}-{last}"


def _shape(layer: LayerFacts) -> str:
    window = "" if layer.window < 0 else f", window {layer.window}"
    return f"{layer.heads} x {layer.head_size}, FFN {layer.intermediate}{window}"


def _parts(layers: Sequence[LayerFacts]) -> list[Part]:
    return [part for layer in layers for part in layer.parts]


def _add_part(table: Table, part: Part, indent: str) -> None:
    table.add_row(
        f"{indent}{part.name}{'*' if part.note else ''}",
        "" if part.shape is None else f"{part.shape[0]} x {part.shape[1]}",
        f"{part.macs / _MACS_PER_UNIT:.1f}",
        f"{100 * part.share:.1f} %",
        part.precision,
        f"{part.weight_bytes / _BYTES_PER_MB:.2f}" if part.weight_bytes else "",
        _time([part]),
    )


def _sums(parts: Sequence[Part], found: Explanation) -> list[str]:
    macs = sum(part.macs for part in parts)
    share = macs / max(1.0, sum(part.macs for part in found.parts))
    size = sum(part.weight_bytes for part in parts) / _BYTES_PER_MB
    return [f"{macs / _MACS_PER_UNIT:.1f}", f"{100 * share:.1f} %", "", f"{size:.2f}", _time(parts)]


def _time(parts: Sequence[Part]) -> str:
    times = [part.microseconds for part in parts if part.microseconds is not None]
    return f"{sum(times):.0f}" if len(times) == len(parts) else "-"


def _reasons(parts: Sequence[Part]) -> list[str]:
    """Which parts are in which precision, by which kernel and why."""
    names: dict[str, dict[str, None]] = {}
    for part in parts:
        line = f"{part.precision} by {part.kernel}: {part.reason}."
        names.setdefault(line, {})[part.name] = None
    return [f"{', '.join(found)}: {line}" for line, found in names.items()]


def _notes(parts: Sequence[Part]) -> list[str]:
    return [f"* {note}." for note in sorted({part.note for part in parts if part.note})]
