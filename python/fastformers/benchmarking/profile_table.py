# SPDX-License-Identifier: MIT
"""Prints a profile: operations summed over the layers first, then each layer by operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fastformers.benchmarking.profile import EngineProfile, ProfiledOperation, summed
from fastformers.counted import counted

__all__ = ["profile_text"]

_TITLE_INDENT = "  "
_GAP = 2
#: Columns after the name: heading, and the text of an operation.
_COLUMNS: tuple[tuple[str, Callable[[ProfiledOperation], str]], ...] = (
    ("ms a text", lambda each: f"{each.milliseconds:.4f}"),
    ("share", lambda each: f"{100 * each.share:.1f} %"),
    ("GMAC/s", lambda each: "" if each.gmacs_per_second is None else f"{each.gmacs_per_second:.1f}"),
    (
        "% of the limit",
        lambda each: "" if each.percent_of_limit is None else f"{each.percent_of_limit:.1f}",
    ),
)


def profile_text(profile: EngineProfile) -> str:
    """Returns both tables and what they mean, as lines of text."""
    return "\n".join([*_heading(profile), "", *_sums(profile), "", *_layers(profile), "", *_meaning(profile)])


def _heading(profile: EngineProfile) -> Iterator[str]:
    texts = f"{counted(profile.texts, 'text')} of {profile.tokens:.1f} tokens in the mean"
    together = f", {profile.batch_size} a call" if profile.batch_size > 1 else ", one a call"
    threads = counted(profile.threads, "thread")
    yield f"Where the time goes: {profile.milliseconds:.3f} ms a text ({texts}{together}; {threads})"


def _sums(profile: EngineProfile) -> Iterator[str]:
    names = dict.fromkeys(each.name for each in profile.operations)
    rows = [
        summed([each for each in profile.operations if each.name == name], name)
        for name in names
    ]  # fmt: skip
    lines = [[row.name, *(text(row) for _, text in _COLUMNS)] for row in rows]
    whole = summed(profile.operations, "all")
    total = [whole.name, *(text(whole) for _, text in _COLUMNS)]
    return _table([["operation", *(heading for heading, _ in _COLUMNS)], *lines, total])


def _layers(profile: EngineProfile) -> Iterator[str]:
    """One line a layer: milliseconds of each operation, with the percentage of the limit beside."""
    inside = [each for each in profile.operations if each.layer is not None]
    if not inside:
        return iter(("The model has no layers.",))
    names = list(dict.fromkeys(each.name for each in inside))
    lines = [["layer", *(f"{name}, ms (%)" for name in names), "share"]]
    for layer in dict.fromkeys(each.layer for each in inside):
        own = {each.name: each for each in inside if each.layer == layer}
        cells = [_cell(own[name]) if name in own else "" for name in names]
        lines.append([f"{layer}", *cells, f"{100 * sum(each.share for each in own.values()):.1f} %"])
    return _table(lines)


def _cell(each: ProfiledOperation) -> str:
    percent = "" if each.percent_of_limit is None else f" ({each.percent_of_limit:.0f})"
    return f"{each.milliseconds:.4f}{percent}"


def _meaning(profile: EngineProfile) -> Iterator[str]:
    limits = profile.ceilings
    if limits.int8_gops is None or limits.float_gflops is None:
        yield f"No limit: {limits.float_source}."
    else:
        yield (
            f"Limit: what the multiply-accumulates of real tokens take at this machine's ceilings, measured in the "
            f"same run on {counted(profile.threads, 'thread')} ({limits.isa}): "
            f"{limits.int8_gops / 2:.0f} GMAC/s INT8, {limits.float_gflops / 2:.0f} float32."
        )
    yield (
        "Quantizing rows counts to the norm or matmul that does it, the activation to up, softmax to attention; call: "
        "memory and the start of threads; waiting: for the other threads."
    )
    yield (
        f"Noting the times makes the calls {100 * max(0.0, profile.slowed):.1f} % slower; of each call the "
        f"quickest of {profile.rounds} counts."
    )


def _table(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligns the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *others = line
        cells = [f"{cell:>{width + _GAP}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield f"{_TITLE_INDENT}{first:<{widths[0]}}{''.join(cells)}".rstrip()
