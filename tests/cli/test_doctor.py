# SPDX-License-Identifier: MIT
"""``fastformers doctor`` tells facts, reasons and a verdict, as text and as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fastformers import kernels

RUN = [sys.executable, "-c", "from fastformers.cli import main; main()"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FASTFORMERS_")}
    return subprocess.run(
        [*RUN, *arguments], env={**clean, "COLUMNS": "200", **environment}, capture_output=True, text=True
    )


def test_json_holds_facts_findings_and_verdict() -> None:
    answer = run("doctor", "--json")
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert told["verdict"] in ("ok", "note", "warning")
    assert told["findings"]
    assert told["facts"]["cpu"]["supported_isas"] == kernels.available_isas()
    assert told["facts"]["packages"]["numpy"] is not None


def test_text_names_what_a_person_looks_for() -> None:
    answer = run("doctor")
    assert answer.returncode == 0, answer.stderr
    for word in ("CPU", "kernels in use", "cores", "threads", "caches", "memory", "packages"):
        assert word in answer.stdout
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("isa", kernels.available_isas())
def test_forced_instruction_set_is_the_one_in_use(isa: str) -> None:
    told = json.loads(run("doctor", "--json", FASTFORMERS_ISA=isa).stdout)
    assert told["facts"]["cpu"]["active_isa"] == isa
    assert told["facts"]["cpu"]["isa_source"] == "FASTFORMERS_ISA"
    assert told["facts"]["environment"] == {"FASTFORMERS_ISA": isa}


def test_unknown_instruction_set_is_wrong_and_the_choices_are_listed() -> None:
    answer = run("doctor", FASTFORMERS_ISA="mmx")
    assert answer.returncode == 1
    assert "mmx" in answer.stdout
    assert all(isa in answer.stdout for isa in kernels.available_isas())
    assert "Traceback" not in answer.stderr


def test_wrong_thread_count_is_wrong() -> None:
    answer = run("doctor", "--json", FASTFORMERS_NUM_THREADS="many")
    assert answer.returncode == 1
    told = json.loads(answer.stdout)
    assert told["verdict"] == "error"
    assert 'FASTFORMERS_NUM_THREADS="many"' in told["facts"]["core_error"]


def test_thread_count_of_the_environment_is_told_with_its_reason() -> None:
    told = json.loads(run("doctor", "--json", FASTFORMERS_NUM_THREADS="1").stdout)
    assert told["facts"]["cpu"]["default_threads"] == 1
    assert "set by FASTFORMERS_NUM_THREADS" in told["facts"]["cpu"]["thread_reason"]
