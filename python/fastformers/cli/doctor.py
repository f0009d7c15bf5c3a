# SPDX-License-Identifier: MIT
"""``fastformers doctor``: what this machine offers, which kernels and how many threads are used, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from fastformers.cli.exit_codes import ExitCode
from fastformers.cli.options import JsonText

if TYPE_CHECKING:
    from rich.console import Console

    from fastformers.benchmarking.machine import CpuFacts, Finding, MachineFacts

__all__ = ["doctor"]

_STYLE_OF_LEVEL = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}
_VERDICTS = {
    "ok": "Ready.",
    "note": "Ready.",
    "warning": "Works, but slower than this machine could be.",
    "error": "Something is wrong: see above.",
}


def doctor(
    as_json: JsonText = False,
) -> None:
    """Show what this machine offers, what is used of it and why; exit 1 when something is wrong."""
    from fastformers.benchmarking.machine import diagnose, machine_facts, verdict

    facts = machine_facts()
    findings = [*diagnose(facts), *_measured_findings(facts.cpu)]
    level = verdict(findings)
    if as_json:
        answer = {"facts": facts.to_dict(), "findings": [f.to_dict() for f in findings], "verdict": level}
        typer.echo(json.dumps(answer, indent=2))
    else:
        _print_text(facts, findings, level)
    if level == "error":
        raise typer.Exit(ExitCode.FAILED)


def _measured_findings(cpu: CpuFacts | None) -> list[Finding]:
    from fastformers.benchmarking.int8_gain import int8_note
    from fastformers.benchmarking.machine import Finding

    note = None if cpu is None else int8_note()
    return [] if note is None else [Finding("note", note)]


def _print_text(facts: MachineFacts, findings: list[Finding], level: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in _rows(facts):
        rows.add_row(name, escape(value))
    console.print(rows)
    console.print()
    for finding in findings:
        _print_finding(console, finding)
    console.print(f"[{_STYLE_OF_LEVEL[level]}]{_VERDICTS[level]}[/]")


def _print_finding(console: Console, finding: Finding) -> None:
    from rich.markup import escape

    style = _STYLE_OF_LEVEL[finding.level]
    console.print(f"[{style}]{finding.level:>7}[/]  {escape(finding.message)}", soft_wrap=True)
    if finding.remedy:
        console.print(f"         -> {escape(finding.remedy)}", soft_wrap=True)


def _rows(facts: MachineFacts) -> list[tuple[str, str]]:
    packages = [f"{name} {version}" for name, version in facts.packages.items() if version is not None]
    absent = [name for name, version in facts.packages.items() if version is None]
    return [
        *_cpu_rows(facts.cpu),
        ("system", f"{facts.platform}, Python {facts.python}"),
        ("packages", ", ".join(packages)),
        ("not installed", ", ".join(absent) or "-"),
        ("environment", ", ".join(f"{name}={value}" for name, value in facts.environment.items()) or "-"),
    ]


def _cpu_rows(cpu: CpuFacts | None) -> list[tuple[str, str]]:
    if cpu is None:
        return [("CPU", "unknown: the compiled core did not start")]
    quota = "none" if cpu.cgroup_quota is None else f"{cpu.cgroup_quota:g} CPUs"
    vectors = f"AVX {_yes_no(cpu.os_saves_avx)}, AVX-512 {_yes_no(cpu.os_saves_avx512)}"
    return [
        ("CPU", f"{cpu.model} ({cpu.vendor})"),
        ("kernels built", ", ".join(cpu.built_isas)),
        ("kernels usable", f"{', '.join(cpu.supported_isas)} (registers saved by the system: {vectors})"),
        ("kernels in use", f"{cpu.active_isa} ({cpu.isa_source})"),
        (
            "cores",
            f"{cpu.physical_cores} physical; {len(cpu.affinity_cpus)} of {cpu.logical_cpus} logical allowed; "
            f"cgroup quota: {quota}",
        ),
        ("threads", cpu.thread_reason),
        ("caches", f"L1d {_size(cpu.l1d_bytes)}, L2 {_size(cpu.l2_bytes)}, L3 {_size(cpu.l3_bytes)}"),
        ("memory", _size(cpu.memory_bytes)),
    ]


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _size(count: int) -> str:
    """Writes a number of bytes as a person would, e.g. ``32 KiB``; 0 stands for unknown."""
    if count == 0:
        return "unknown"
    for unit, bytes_of_unit in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= bytes_of_unit:
            return f"{count / bytes_of_unit:.3g} {unit}"
    return f"{count / 1024:.3g} KiB"
