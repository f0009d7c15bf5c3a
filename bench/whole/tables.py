# SPDX-License-Identifier: MIT
"""Each part's result as Markdown. What a part's own report can write is not written a second time here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

from bench.harness.markdown import table
from fastformers.benchmarking.demo_report import DemoReport
from fastformers.benchmarking.measurement import Measurement
from fastformers.counted import counted

__all__ = ["TABLES", "summary_table"]

_MEGABYTE = 1e6
_MICROSECONDS = 1e6


def _demo(result: Any) -> str:
    """README's table: what the rows are measured on, and one row a rung."""
    report = DemoReport.from_dict(result)
    texts, cpu = report.texts, report.machine["cpu"]
    error = 100 * sqrt(report.rows[0].accuracy * (1 - report.rows[0].accuracy) / texts["measured"])
    lines = [
        "![texts per second and right answers of each rung, from a padded float32 teacher to a pruned INT8 engine]"
        "(docs/demo.png)",
        "",
        f"{report.model} (real pretrained weights) learns to sort {texts['classes']} kinds of messages to a shop, then "
        f"each rung makes it cheaper: {texts['trained']} texts trained on, {texts['measured']} others measured, "
        f"tokenizing included, on {counted(cpu['physical_cores'], 'core')}",
        f"of {cpu['model']} (kernels {cpu['active_isa']}), PyTorch {report.machine['packages']['torch']}, as "
        f"`make demo` prints it. One standard error of the right answers is {error:.1f} points; an engine's linear "
        "layers",
        "are filled up to whole pages of 2 MB.",
        "",
        "| | right answers | a text | texts per second | times faster | linear layers |",
        "|---|---|---|---|---|---|",
    ]
    for number, row in enumerate(report.rows):
        waiting = " (with waiting)" if row.under_load else ""
        faster = f"{row.total_speedup.median:.1f}" if number else ""
        lines.append(
            f"| {row.name} | {100 * row.accuracy:.1f} % | {row.latency_ms.median:.2f} ms{waiting} | "
            f"{row.queries_per_second.median:.0f} | {faster} | {row.linear_mb:.1f} MB |"
        )
    return "\n".join(lines)


def _kernels(result: Any) -> str:
    from bench.kernels.report import report

    return report(result)


def _encoder(result: Any) -> str:
    from bench.workloads.encoder.report import report

    return report(result)


def _markdown(result: Any) -> str:
    """What the ladder wrote; its title is the section's."""
    return _lower(result["markdown"].split("\n", 1)[1])


def _lower(markdown: str) -> str:
    """The same with headings of the second level one level lower, as parts of a section."""
    lines = markdown.strip().splitlines()
    return "\n".join(f"#{line}" if line.startswith("## ") else line for line in lines)


def _gpu(result: Any) -> str:
    from bench.gpu.report import summary

    return _lower(summary(result))


def _profile(result: Any) -> str:
    """The measurement as it is printed."""
    return f"```\n{Measurement.from_dict(result)}\n```"


def _fidelity(result: Any) -> str:
    from bench.fidelity.run import markdown

    return f"{result['isa']}, torch {result['torch']}, {result['texts']} texts.\n\n{markdown(result)}"


def _memory(result: Any) -> str:
    from bench.memory.run import markdown

    return f"Kernels {result[0]['isa']}.\n\n{markdown(result)}"


def _ranges(result: Any) -> str:
    from bench.onnx.ranges import markdown

    return f"{result['model']}, {result['texts']} texts, {result['rounds']} rounds.\n\n{markdown(result['rows'])}"


def _kernel_calls(result: Any) -> str:
    """Times of calls, in microseconds, and what they cost over the kernel alone."""
    rows = [
        [
            f"{each['group']}, M x N x K {_sizes(each['name'])}",
            f"{_MICROSECONDS * each['seconds']['median']:.2f}",
            f"{each['extra']['kernel_us']:.2f}",
            f"{each['extra']['overhead_us']:.2f}",
        ]
        for each in result
    ]
    return table(["call", "us a call", "kernel alone, us", "more than the kernel, us"], rows)


def _sizes(name: str) -> str:
    """``1 x 16 x 384`` of ``test_something[1-16-384]``."""
    return name.partition("[")[2].rstrip("]").replace("-", " x ")


def _soak(result: Any) -> str:
    return (
        f"{result['requests']:,} requests at {result['requests_per_second']:,.0f} a second, "
        f"{result['wrong_answers']} wrong answers; memory {result['bytes_at_5_percent'] / _MEGABYTE:.1f} MB at 5 % of "
        f"them and {result['bytes_at_end'] / _MEGABYTE:.1f} MB at the end (allowed: + 5 MB). {result['cycles']} cycles "
        f"of loading, serving and closing: {result['bytes_after_some_cycles'] / _MEGABYTE:.1f} MB after a tenth, "
        f"{result['bytes_after_cycles'] / _MEGABYTE:.1f} MB at the end (+ 5 MB). Idle CPU "
        f"{100 * result['idle_cpu']:.3f} % of one core (below 0.5 %)."
    )


#: Part -> its result as Markdown. A part without a table has none in the READMEs.
TABLES: dict[str, Callable[[Any], str]] = {
    "demo": _demo,
    "ladder": _markdown,
    "instances": _markdown,
    "encoder": _encoder,
    "kernels": _kernels,
    "kernel-calls": _kernel_calls,
    "profile": _profile,
    "fidelity-minilm": _fidelity,
    "fidelity-mpnet": _fidelity,
    "memory": _memory,
    "onnx-ranges": _ranges,
    "soak": _soak,
    "gpu": _gpu,
}


def summary_table(document: Mapping[str, Any], file: str) -> str:
    """Says what a whole run measured, and what it did not and why."""
    rows = [
        [
            name,
            f"{part['state']}{': ' if part['reason'] else ''}{part['reason']}",
            f"{part['seconds']:.0f}" if "seconds" in part else "",
        ]
        for name, part in document["parts"].items()
    ]
    seconds = sum(part.get("seconds", 0.0) for part in document["parts"].values())
    cpu = document["machine"]["cpu"]
    head = (
        f"`{file}`: begun {document['date']} at commit {document['commit'][:12] or 'unknown'}, on "
        f"{counted(cpu['physical_cores'], 'core')} of {cpu['model']}, {seconds / 60:.0f} minutes in all."
    )
    return "\n\n".join([head, table(["part", "state", "seconds"], rows)])
