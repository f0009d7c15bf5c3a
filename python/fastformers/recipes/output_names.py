# SPDX-License-Identifier: MIT
"""What a run or a search writes beside its stages' folders, by name: no stage can be called so."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FILES", "LEDGER", "PICTURE", "REPORT", "SEARCH", "TIMES", "WORK_SUFFIX", "work_folder"]

LEDGER = "stages.json"
REPORT, PICTURE = "report.json", "report.png"
SEARCH, TIMES = "search.json", "search_times.json"
FILES = (REPORT, PICTURE, SEARCH, TIMES, LEDGER)
WORK_SUFFIX = ".work"


def work_folder(target: Path) -> Path:
    """Returns where checkpoints of what is to be made in ``target`` lie, so that a killed run goes on."""
    return target.with_name(f"{target.name}{WORK_SUFFIX}")
