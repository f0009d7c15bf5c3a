# SPDX-License-Identifier: MIT
"""One unattended run that measures everything this project says of GPUs, and writes it to one JSON.

usage: python -m bench.gpu.run [--device cuda|cpu] [--tiny] [--minutes 7.5] [--only SECTION ...] [--json FILE]

Sections, in the order of importance: precisions, ladder, fidelity, padding, shapes, compiled. What no time is left for,
or what this torch or GPU cannot do, is in the JSON with its reason. `--device cpu --tiny` tries the run in a minute or
two; its times mean nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from bench.gpu.report import summary
from bench.gpu.sections import SECTIONS, make_bench
from bench.gpu.sizes import full, tiny
from bench.harness.readings_file import REPOSITORY, write
from fastformers.benchmarking.machine import machine_facts
from fastformers.errors import FastformersError
from fastformers.gpu.devices import check_cuda, device_facts
from fastformers.quiet_loading import quiet_loading

SCHEMA = "fastformers-gpu/1"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models and few texts, to try the run")
    parser.add_argument("--minutes", type=float, default=7.5, help="after which no row is begun")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.device == "cpu" and not options.tiny:
        parser.error(
            "--device cpu only with --tiny: full sizes would take hours, and CPUs have a ladder of their own"
        )
    try:
        if options.device == "cuda":
            check_cuda()
        return run(options)
    except FastformersError as error:
        print(f"bench.gpu: {error}", file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    """Runs the sections; writes the file after each."""
    begun = time.monotonic()
    device = torch.device(options.device)
    path = options.json or default_path(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "command": f"python -m bench.gpu.run{' --tiny' if options.tiny else ''} --device {options.device}",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tiny": options.tiny,
        "machine": machine_facts().to_dict(),
        "device": device_facts(device),
        "sections": {},
    }

    def in_time(seconds: float) -> bool:
        return time.monotonic() - begun + seconds < 60 * options.minutes

    def tell(line: str) -> None:
        print(f"[{time.monotonic() - begun:4.0f} s] {line}", file=sys.stderr, flush=True)

    with quiet_loading():
        bench = make_bench(device, tiny() if options.tiny else full(), in_time, tell)
        for name in SECTIONS:
            if name not in options.only:
                continue
            document["sections"][name] = section(name, bench)
            document["seconds"] = round(time.monotonic() - begun, 1)
            write(path, document)
    print(summary(document))
    print(f"Saved: {path}")
    return 0


def section(name: str, bench: Any) -> dict[str, Any]:
    """Rows of a section, or why it has none."""
    if not bench.in_time(30):
        return {"rows": [], "not_measured": "no time was left"}
    rows: list[dict[str, Any]] = []
    try:
        rows.extend(SECTIONS[name](bench))
    except Exception as error:  # the other sections are worth having
        bench.tell(f"{name}: {type(error).__name__}: {error}")
        return {"rows": rows, "not_measured": f"{type(error).__name__}: {error}"}
    return {"rows": rows}


def default_path(device: torch.device) -> Path:
    """``bench/results/gpu-<date>-<gpu>.json``."""
    name = device_facts(device).get("name", "cpu")
    date = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return REPOSITORY / "bench" / "results" / f"gpu-{date}-{slug}.json"


if __name__ == "__main__":
    sys.exit(main())
