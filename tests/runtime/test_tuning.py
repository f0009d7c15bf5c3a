# SPDX-License-Identifier: MIT
"""The file beside an artefact that says which arrangement was best, and what "auto" makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastformers import kernels
from fastformers.errors import ConfigError, FormatError
from fastformers.runtime.arrangement import DEFAULT_BATCH_TOKENS, arrange
from fastformers.runtime.tuning import TUNING_FILE, Arrangement, Tuning, read_tuning, write_tuning

MANY = Arrangement(instances=3, threads=1, batch_tokens=512)
ONE = Arrangement(instances=1, threads=2, batch_tokens=2048)


def tuning(cores: int = 2) -> Tuning:
    return Tuning(cores=cores, cpu="a CPU", throughput=MANY, latency=ONE)


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "default_threads", lambda: 4)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_tuning(tmp_path) is None
    write_tuning(tmp_path, tuning())
    write_tuning(tmp_path, tuning(cores=8))
    assert read_tuning(tmp_path) == tuning(cores=8)
    assert [path.name for path in tmp_path.iterdir()] == [TUNING_FILE]


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tuning(tmp_path, tuning())
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_tuning(tmp_path, tuning(cores=8))
    assert read_tuning(tmp_path) == tuning()
    assert [path.name for path in tmp_path.iterdir()] == [TUNING_FILE]


def changed(**values: Any) -> str:
    arrangement = {"instances": 1, "threads": 1, "batch_tokens": 1}
    plain = {"format": 1, "cores": 2, "cpu": "x", "throughput": arrangement, "latency": arrangement}
    return json.dumps({**plain, **values})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        "[" * 100_000,
        b"\xff\xfe",
        changed(format=2),
        changed(cores=0),
        changed(cores=True),
        changed(cores="2"),
        changed(cpu=3),
        changed(extra=1),
        changed(latency={"instances": 1, "threads": 1}),
        changed(latency={"instances": 1.5, "threads": 1, "batch_tokens": 1}),
        changed(throughput=None),
        changed(throughput={"instances": 1024, "threads": 1024, "batch_tokens": 1}),
        " " * (2 << 20) + "{}",
    ],
)
def test_anything_else_is_a_format_error_that_says_what_to_do(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / TUNING_FILE
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FormatError, match="Delete it"):
        read_tuning(tmp_path)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("instances", "threads", "expected"),
    [
        ("auto", "auto", (4, 1)),
        (2, "auto", (2, 2)),
        (3, "auto", (3, 1)),
        (9, "auto", (9, 1)),
        ("auto", 2, (2, 2)),
        ("auto", 9, (1, 9)),
        (5, 6, (5, 6)),
    ],
)
def test_what_is_not_given_is_what_remains_of_the_cores(
    instances: Any, threads: Any, expected: tuple[int, int]
) -> None:
    made = arrange(instances, threads, "auto", None, "throughput")
    assert (made.instances, made.threads) == expected
    assert made.batch_tokens == DEFAULT_BATCH_TOKENS


@pytest.mark.usefixtures("four_cores")
def test_tuning_decides_only_where_it_was_made_and_nothing_was_given() -> None:
    assert arrange("auto", "auto", "auto", tuning(cores=4), "throughput") == MANY
    assert arrange("auto", "auto", "auto", tuning(cores=4), "latency") == ONE
    assert arrange("auto", "auto", "auto", tuning(cores=8), "latency").instances == 4
    assert arrange(2, "auto", "auto", tuning(cores=4), "latency").instances == 2
    assert arrange("auto", "auto", 99, tuning(cores=4), "latency").batch_tokens == 99


def test_an_unknown_goal_is_refused() -> None:
    with pytest.raises(ConfigError, match="'throughput', 'latency'"):
        arrange("auto", "auto", "auto", tuning(cores=4), "speed")  # type: ignore[arg-type]
