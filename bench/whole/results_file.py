# SPDX-License-Identifier: MIT
"""The one file of a whole run: begun, written after each part, gone on with; small enough for the repository."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.fidelity.texts import data_folder
from bench.harness.readings_file import REPOSITORY, difference
from fastformers.files.replaced_file import replace_file

__all__ = ["SCHEMA", "cleaned", "commit", "default_path", "read_results", "slug", "write_results"]

SCHEMA = "fastformers-bench/1"
_DIGITS = 6  # of a reading: no clock says more
_SAME = ("schema", "quick", "machine")


def slug(machine: Mapping[str, Any]) -> str:
    """A processor's name as part of a file name: ``amd-epyc-9654``."""
    model = (machine.get("cpu") or {}).get("model", "unknown")
    words = re.sub(r"\((?:r|tm)\)", " ", model.lower())
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "unknown"


def default_path(date: str, machine: Mapping[str, Any], quick: bool) -> Path:
    """Where a run's file goes; of a quick one to the build folder, because its numbers are no results."""
    if quick:
        return REPOSITORY / "build" / "bench" / f"{date}-{slug(machine)}-quick.json"
    return REPOSITORY / "bench" / "results" / f"{date}-{slug(machine)}.json"


def commit() -> str:
    """The commit that is checked out, with ``+`` when files differ from it; empty outside of a checkout."""
    try:
        name = _git("rev-parse", "HEAD")
        return f"{name}+" if _git("status", "--porcelain", "--untracked-files=no") else name
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def read_results(path: Path, header: Mapping[str, Any], resume: bool) -> dict[str, Any]:
    """Returns the document to go on with: the one on disk when that is wanted, else a new one.

    Raises:
        SystemExit: the file exists and may not be overwritten, or was measured in another way or on another machine.
    """
    if not path.exists():
        return {**header, "parts": {}}
    if not resume:
        raise SystemExit(
            f"{path} exists: add --resume to go on with it, or choose another file with --output"
        )
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in _SAME:
        differs = difference(key, document.get(key), cleaned(header[key]))
        if differs:
            raise SystemExit(
                f"{path} has other {key} than this run ({differs}): choose another file with --output"
            )
    return document


def write_results(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the document in one step, one line a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [f"{_json(key)}:{_json(value)}" for key, value in document.items() if key != "parts"]
    parts = ",\n".join(f"{_json(name)}:{_json(part)}" for name, part in document["parts"].items())
    lines = ",\n".join([*head, f'"parts":{{\n{parts}\n}}'])
    replace_file(path, f"{{\n{lines}\n}}\n".encode())


def cleaned(value: Any) -> Any:
    """Makes a value fit to be kept in the repository.

    Floats get six digits that count, what is no number becomes null, and folders of this machine get names.
    """
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, str):
        return _named_folders(value)
    if isinstance(value, Mapping):
        return {key: cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(each) for each in value]
    return value


def _named_folders(text: str) -> str:
    folders = {
        os.environ.get("FASTFORMERS_DATA", ""): "$FASTFORMERS_DATA",
        os.environ.get("FASTFORMERS_MPNET", ""): "$FASTFORMERS_MPNET",
        str(data_folder() or ""): "$FASTFORMERS_DATA",
        sys.prefix: "$VENV",
        str(REPOSITORY): ".",
        tempfile.gettempdir(): "$TMPDIR",
        str(Path.home()): "~",
    }
    for folder in sorted(filter(_is_folder, folders), key=len, reverse=True):  # inner ones first
        text = text.replace(folder, folders[folder])
    return text


def _is_folder(name: str) -> bool:
    return len(Path(name).parts) > 1


def _json(value: Any) -> str:
    return json.dumps(cleaned(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
