# SPDX-License-Identifier: MIT
"""What a run of bench/ writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def bench_document(
    module: str, missing: Mapping[str, str], cells: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Three rounds of a run, on a machine that does not exist.

    Args:
        module: that was run.
        missing: who could not take part, and why.
        cells: what was measured.
    """
    cpu = {"model": "Test CPU", "physical_cores": 2, "l2_bytes": 1 << 20, "l3_bytes": 32 << 20}
    return {
        "command": f"python -m {module}",
        "machine": {
            "cpu": {**cpu, "active_isa": "avx512vnni"},
            "python": "3.11",
            "packages": {"torch": "2.13"},
        },
        "settings": {"rounds": 3, "block_ms": 25.0, "cores": [0]},
        "missing": dict(missing),
        "cells": list(cells),
    }
