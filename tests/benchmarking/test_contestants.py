# SPDX-License-Identifier: MIT
"""Contestants: who is absent and how to get it, and processes whose failures are answers instead of hangs."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastformers.benchmarking.contestant_process import ContestantError, ContestantProcess, start_all
from fastformers.benchmarking.contestant_server import serve
from fastformers.benchmarking.contestants import Contestant, by_name, split_by_presence

PRESENT = Contestant("present", "json", ("json",), "torch")
ABSENT = Contestant("absent", "x", ("no_such_package",), "onnx")

WORKER = """
import os, sys
from fastformers.benchmarking.contestant_server import isolate, serve
name, threads, cores, *more = sys.argv[1:]
answers = isolate(cores)
print("a library's chatter")
facts = {"name": name, "cores": sorted(os.sched_getaffinity(0)), "omp": os.environ["OMP_NUM_THREADS"], "more": more}
def load():
    if name == "broken":
        raise OSError("no such engine")
    return facts
def end():
    os._exit(7)
serve({"load": load, "end": end}, sys.stdin, answers, threads=int(threads))
"""


@pytest.fixture
def start(tmp_path: Path) -> object:
    (tmp_path / "small_worker.py").write_text(WORKER)
    core = min(os.sched_getaffinity(0))

    def make(contestant: Contestant) -> ContestantProcess:
        return ContestantProcess(contestant, "small_worker", 1, [core], arguments=["a"], search=[tmp_path])

    return make


def test_absent_package_is_named_with_its_extra() -> None:
    assert PRESENT.missing() == ""
    assert ABSENT.missing().startswith(
        "no_such_package not installed: python -m pip install 'fastformers-cpu[onnx]'"
    )
    assert split_by_presence([PRESENT, ABSENT]) == ([PRESENT], {"absent": ABSENT.missing()})


def test_unknown_name_lists_the_known_ones() -> None:
    assert by_name([PRESENT, ABSENT], "absent") is ABSENT
    with pytest.raises(ValueError, match="unknown contestant 'x': choose among present, absent"):
        by_name([PRESENT, ABSENT], "x")


def test_server_answers_an_exception_and_goes_on() -> None:
    answers = io.StringIO()
    commands = io.StringIO('{"do": "fail"}\n{"do": "add", "a": 1, "b": 2}\n{"do": "nothing"}\n')

    def fail() -> dict[str, object]:
        raise ValueError("too small")

    serve({"fail": fail, "add": lambda a, b: {"sum": a + b}}, commands, answers, threads=1)
    assert [json.loads(line) for line in answers.getvalue().splitlines()] == [
        {"error": "ValueError: too small"},
        {"sum": 3},
        {"error": "KeyError: 'nothing'"},
    ]


def test_process_is_pinned_and_keeps_chatter_out_of_its_answers(start: object) -> None:
    with start(PRESENT) as process:  # type: ignore[operator]
        facts = process.ask("load")
    core = min(os.sched_getaffinity(0))
    assert facts == {"name": "present", "cores": [core], "omp": "1", "more": ["a"]}


def test_process_that_ends_is_an_error_not_a_hang(start: object) -> None:
    with start(PRESENT) as process:  # type: ignore[operator]
        with pytest.raises(ContestantError, match="present: its process ended with code 7"):
            process.ask("end")
        with pytest.raises(ContestantError, match="ended with code 7"):
            process.ask("load")


def test_contestants_that_cannot_start_are_told_apart(start: object) -> None:
    broken = Contestant("broken", "x", (), "torch")
    with ExitStack() as stack:
        processes, refused = start_all([PRESENT, broken], start, stack)  # type: ignore[arg-type]
        assert list(processes) == ["present"]
        assert refused == {"broken": "broken: OSError: no such engine"}


def test_module_of_a_contestant_is_imported_on_demand() -> None:
    assert PRESENT.load() is json
    assert "x" not in sys.modules
