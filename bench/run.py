# SPDX-License-Identifier: MIT
"""Runs every benchmark, unattended, in under 40 minutes on two cores, and writes one file.

``make bench``, or ``python -m bench.run [--resume] [--write]``. Each part (``bench/whole/parts.py``) is a process with
a time limit. The file is written after each: an interrupted run goes on with ``--resume``. A part whose inputs are
absent is in the file with the reason; one that fails is there with its last lines, the others run all the same, and
the exit status is 1. ``--quick`` runs everything at its smallest, to see that the chain holds: its numbers mean
nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench.fidelity.texts import data_folder
from bench.harness.readings_file import REPOSITORY
from bench.report import write_tables
from bench.whole.needs import absent
from bench.whole.part_process import Ended, run_for
from bench.whole.parts import PARTS, Part
from bench.whole.results_file import SCHEMA, commit, default_path, read_results, write_results
from fastformers.benchmarking.machine import machine_facts

__all__ = ["main", "run_parts"]

MEASURED, STOPPED, FAILED, NOT_MEASURED = "measured", "stopped", "failed", "not measured"
_MOST_THREADS = 2


def run_parts(
    parts: Sequence[Part], document: dict[str, Any], path: Path, chosen: Mapping[str, bool], work: Path
) -> None:
    """Runs the parts that the document lacks, and writes it after each.

    Args:
        parts: in order.
        document: of :func:`bench.whole.results_file.read_results`; changed.
        path: its file.
        chosen: part -> whether it was asked for.
        work: folder for the parts' own folders; what is not of this run is removed.
    """
    _begin(document, path, work)
    for part in parts:
        earlier = document["parts"].get(part.name, {"state": NOT_MEASURED})
        if earlier["state"] == MEASURED:
            _tell(part, "measured before")
            continue
        if not chosen[part.name]:
            if part.name in document["parts"]:
                continue
            found = _not_measured("not asked for (--only, --skip)")
        else:
            found = _run(part, document["quick"], work / part.name)
        document["parts"][part.name] = found
        document["parts"] = in_order(document["parts"], parts)
        write_results(path, document)
        seconds = f" in {found['seconds']:.0f} s" if "seconds" in found else ""
        _tell(part, f"{found['state']}{seconds}{': ' if found['reason'] else ''}{found['reason']}")
        if found["state"] == FAILED:
            print("\n".join(f"    {line}" for line in found["last_lines"]), flush=True)


def in_order(found: Mapping[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    """The same in the order of the parts; parts that are no more come last."""
    names = [part.name for part in parts if part.name in found]
    return {name: found[name] for name in dict.fromkeys([*names, *found])}


def _begin(document: Mapping[str, Any], path: Path, work: Path) -> None:
    """Writes the file, and throws away what parts of another run left in their folders."""
    write_results(path, document)
    mark = work / "run.txt"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != document["date"]:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        mark.write_text(document["date"], encoding="utf-8")


def _run(part: Part, quick: bool, folder: Path) -> dict[str, Any]:
    words = part.quick if quick else part.command
    if not words:
        return _not_measured("left out of quick runs")
    lacking = absent(part.needs)
    if lacking:
        return _not_measured(lacking)
    minutes = part.quick_minutes if quick else part.minutes
    folder.mkdir(parents=True, exist_ok=True)
    told = _filled(words, folder)
    _tell(part, f"{part.about}; {minutes:g} minutes at most")
    ended = run_for(
        minutes,
        [sys.executable, *told],
        folder=REPOSITORY,
        log=folder / "log.txt",
        environment={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    state, reason = _state(part, ended, minutes)
    try:
        result = part.collect(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        result = None
        if state == MEASURED:
            state, reason = FAILED, f"its result cannot be read: {type(error).__name__}: {error}"
    if state == STOPPED and result is not None:
        reason += "; what it had by then is kept"
    elif state == STOPPED:
        state = FAILED  # its table will be missing
    return {
        "state": state,
        "reason": reason,
        "about": part.about,
        "command": f"python {words}",
        "commit": commit(),
        "seconds": ended.seconds,
        "limit_minutes": minutes,
        "result": result,
        "last_lines": [] if state == MEASURED else ended.last_lines,
    }


def _state(part: Part, ended: Ended, minutes: float) -> tuple[str, str]:
    if ended.status is None:
        return STOPPED, f"not done after {minutes:g} minutes"
    if ended.status in part.done:
        return MEASURED, "" if ended.status == 0 else "a figure is missed"
    return FAILED, f"exit status {ended.status}"


def _not_measured(reason: str) -> dict[str, Any]:
    return {"state": NOT_MEASURED, "reason": reason}


def _filled(words: str, folder: Path) -> list[str]:
    """The command's words, with what this machine has in the places of names."""
    cores = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    values = {"out": str(folder), "work": str(folder.parent), "data": str(data_folder())}
    filled: list[str] = []
    for word in shlex.split(words):
        if word == "{threads}":
            filled += [str(threads) for threads in range(1, cores + 1)]
        else:
            filled.append(word.format(**values))
    return filled


def _tell(part: Part, words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {part.name}: {words}", flush=True)


def parse(arguments: Sequence[str] | None, parts: Sequence[Part]) -> argparse.Namespace:
    """Reads the command line."""
    names = [part.name for part in parts]
    parser = argparse.ArgumentParser(
        prog="python -m bench.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parts:\n" + "\n".join(f"  {part.name:<16} {part.about}" for part in parts),
    )
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        help="file (default bench/results/DATE-CPU.json; of a quick run below build/bench)",
    )
    add("--resume", action="store_true", help="go on with the file: parts that are measured stay")
    add("--only", nargs="+", choices=names, metavar="PART", help="only these parts")
    add("--skip", nargs="+", choices=names, metavar="PART", default=[], help="all but these")
    add("--quick", action="store_true", help="everything at its smallest: to try the chain, not to measure")
    add(
        "--write",
        action="store_true",
        help="then write the tables of the READMEs from the file; not of a quick run",
    )
    parsed = parser.parse_args(arguments)
    if parsed.write and parsed.quick:
        parser.error(
            "a quick run's numbers do not go into the READMEs: use python -m bench.report FILE --root DIR"
        )
    return parsed


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS) -> int:
    """Runs the parts; returns 1 when one failed, 130 when interrupted."""
    parsed = parse(arguments, parts)
    date = datetime.now(timezone.utc)
    header = {
        "schema": SCHEMA,
        "date": date.isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": parsed.quick,
        "machine": machine_facts().to_dict(),
    }
    path = parsed.output or default_path(date.date().isoformat(), header["machine"], parsed.quick)
    document = read_results(path, header, parsed.resume)
    chosen = {
        part.name: (parsed.only is None or part.name in parsed.only) and part.name not in parsed.skip
        for part in parts
    }
    try:
        run_parts(parts, document, path, chosen, REPOSITORY / "build" / "bench" / path.stem)
    except KeyboardInterrupt:
        print(f"interrupted; go on with: python -m bench.run --resume --output {path}", file=sys.stderr)
        return 130
    print(f"All parts are in {path}", flush=True)
    if parsed.write:
        write_tables(document, path, REPOSITORY)
    failed = [name for name, part in document["parts"].items() if part["state"] == FAILED]
    if failed:
        print(f"failed: {', '.join(failed)}; their last lines are in the file", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
