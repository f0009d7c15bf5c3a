# SPDX-License-Identifier: MIT
"""Tuning measures every arrangement, picks winners by what was measured, and keeps them beside the model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from command_line import exit_status

from fastformers import kernels
from fastformers.benchmarking import tune
from fastformers.benchmarking.random_encoder import random_plan, random_tensors, random_texts, word_tokenizer
from fastformers.benchmarking.tune import Mode, Row, arrangements_to_try, measure_arrangements, tuning_of
from fastformers.errors import ConfigError, FormatError
from fastformers.kernels import NativeEncoder
from fastformers.runtime.artefact_folder import save_artefact
from fastformers.runtime.engine import Engine
from fastformers.runtime.futures import EngineFuture
from fastformers.runtime.tuning import Arrangement, read_tuning

TEXTS = random_texts(40, 60)


def make_engine(arrangement: Arrangement) -> Engine:
    """At the top of the module, so that a spawned process finds it."""
    plan = random_plan()
    native = NativeEncoder(plan.to_dict(), random_tensors(plan))
    one = Engine(native, plan, word_tokenizer(), instances=1, threads=1)
    return one.rearranged(arrangement)


def row(instances: int, texts_per_second: float, p99_ms: float, mode: Mode = "threads") -> Row:
    return Row(
        mode=mode,
        arrangement=Arrangement(instances=instances, threads=1, batch_tokens=1),
        texts_per_second=texts_per_second,
        p50_ms=1.0,
        p99_ms=p99_ms,
        memory_bytes=1,
    )


def test_every_split_of_the_cores_is_tried_once() -> None:
    tried = arrangements_to_try(6, [10, 20])
    assert [(a.instances, a.threads) for a in tried[::2]] == [(1, 1), (6, 1), (3, 2), (2, 3), (1, 6)]
    assert [a.batch_tokens for a in tried] == [10, 20] * 5
    assert [(a.instances, a.threads) for a in arrangements_to_try(1, [10])] == [(1, 1)]


def test_winners_are_picked_by_what_was_measured() -> None:
    tuning = tuning_of([row(1, 100, 5), row(2, 190, 9), row(3, 150, 7), row(8, 999, 1, "processes")])
    assert tuning.throughput.instances == 2
    assert tuning.latency.instances == 1
    assert tuning.cores == kernels.default_threads()


def test_rows_are_of_the_arrangements_in_order() -> None:
    rounds: list[tuple[str, int]] = []
    tried = arrangements_to_try(2, [64, 512])
    rows = measure_arrangements(
        make_engine, TEXTS, tried, rounds=2, after_reading=lambda name, index: rounds.append((name, index))
    )
    assert [r.arrangement for r in rows] == tried
    assert all(r.texts_per_second > 0 and 0 < r.p50_ms <= r.p99_ms and r.memory_bytes > 0 for r in rows)
    assert len(rounds) in (
        2 * len(tried),
        4 * len(tried),
    )  # all rounds once more on a machine that is not quiet
    assert rounds[0][0] == rounds[-1][0]  # the order is turned round


def of_speeds(monkeypatch: pytest.MonkeyPatch, *speeds: float) -> None:
    """Every reading finds the next of these texts a second, the first of them in the warm-up."""
    left = iter(speeds)
    monkeypatch.setattr(tune, "_read", lambda *_: tune.ArrangementReading(next(left), (0.001, 0.002)))


@pytest.mark.parametrize(
    ("second", "median", "noisy"), [((100, 100, 101), 100, False), ((90, 120, 150), 120, True)]
)
def test_rounds_that_spread_are_taken_once_more_and_the_quieter_ones_count(
    second: tuple[float, ...], median: float, noisy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_speeds(monkeypatch, 1, 100, 200, 300, *second)
    (found,) = measure_arrangements(make_engine, TEXTS, arrangements_to_try(1, [64]), rounds=3)
    assert (found.texts_per_second, found.noisy) == (median, noisy)


def test_command_marks_what_a_machine_that_is_not_quiet_gave(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = model_folder.parent / "texts.txt"
    texts.write_text("some text\n", encoding="utf-8")
    count = len(arrangements_to_try(kernels.default_threads()))
    of_speeds(monkeypatch, *[1.0] * count, *([100.0] * count + [200.0] * count) * 2)
    assert exit_status("tune", model_folder, "--data", texts, "--rounds", 2) == 0
    printed = capsys.readouterr().out
    assert printed.count("150.0 ~") == count
    assert "the machine was not quiet" in printed


def test_every_text_has_a_reading_also_when_callbacks_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    callbacks = EngineFuture._invoke_callbacks

    def late(future: EngineFuture[object]) -> None:
        time.sleep(0.05)
        callbacks(future)

    monkeypatch.setattr(EngineFuture, "_invoke_callbacks", late)
    with make_engine(Arrangement(instances=2, threads=1, batch_tokens=512)) as engine:
        assert len(tune._latencies(engine, TEXTS[:3])) == 3
        assert tune._latencies(engine, []) == []


def test_processes_hold_a_copy_of_the_weights_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a package of its own, as a spawned process must import it by name."""
    (tmp_path / "tuned_model.py").write_text(
        "from fastformers.benchmarking.random_encoder import random_plan, random_tensors, word_tokenizer\n"
        "from fastformers.kernels import NativeEncoder\n"
        "from fastformers.runtime.engine import Engine\n"
        "plan = random_plan()\n"
        "def make(arrangement):\n"
        "    native = NativeEncoder(plan.to_dict(), random_tensors(plan))\n"
        "    return Engine(native, plan, word_tokenizer(), instances=1, threads=1).rearranged(arrangement)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    from tuned_model import make  # type: ignore[import-not-found]

    two = [Arrangement(instances=2, threads=1, batch_tokens=512)]
    shared, copied = measure_arrangements(make, TEXTS, two, rounds=1, modes=("threads", "processes"))
    assert (shared.mode, copied.mode) == ("threads", "processes")
    weights = make(two[0]).memory().weight_bytes
    assert copied.memory_bytes > 2 * weights
    assert copied.texts_per_second > 0
    assert 0 < copied.p50_ms <= copied.p99_ms


def test_no_texts_are_refused() -> None:
    with pytest.raises(ConfigError, match="no texts"):
        measure_arrangements(make_engine, [], arrangements_to_try(1))


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    plan = random_plan()
    folder = tmp_path / "model"
    save_artefact(
        folder, plan, random_tensors(plan), config={"model_type": "bert"}, tokenizer=word_tokenizer()
    )
    return folder


@pytest.mark.parametrize("as_json", [True, False])
def test_command_prints_every_row_and_the_engine_uses_the_winner(
    model_folder: Path, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = model_folder.parent / "texts.txt"
    texts.write_text("\n\n".join(text for text in TEXTS if text), encoding="utf-8")
    options = ["--json"] if as_json else []
    assert exit_status("tune", model_folder, "--data", texts, "--rounds", 1, *options) == 0
    printed = capsys.readouterr().out
    tuning = read_tuning(model_folder)
    assert tuning is not None
    rows = len(arrangements_to_try(kernels.default_threads()))
    if as_json:
        assert len(json.loads(printed)["rows"]) == rows
    else:
        assert printed.count("threads  ") >= rows
        assert f"Most texts a second: {tuning.throughput.instances} instance" in printed
        assert f"Lowest latency: {tuning.latency.instances} instance" in printed
        assert "…" not in printed  # fits 80 columns
    for goal, expected in (("throughput", tuning.throughput), ("latency", tuning.latency)):
        with Engine.from_pretrained(model_folder, goal=goal) as engine:  # type: ignore[arg-type]
            assert engine.arrangement == expected


def test_command_prints_the_table_also_where_it_cannot_be_saved(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = model_folder.parent / "texts.txt"
    texts.write_text("a text\n", encoding="utf-8")
    (model_folder / "tuning.json").mkdir()
    assert exit_status("tune", model_folder, "--data", texts, "--rounds", 1) == 1
    assert "Most texts a second" in capsys.readouterr().out


def test_command_replaces_a_damaged_tuning(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = model_folder.parent / "texts.txt"
    texts.write_text("a text\n", encoding="utf-8")
    (model_folder / "tuning.json").write_text("{")
    with pytest.raises(FormatError, match="write a new one: fastformers tune"):
        Engine.from_pretrained(model_folder)
    assert exit_status("tune", model_folder, "--data", texts, "--rounds", 1) == 0
    assert read_tuning(model_folder) is not None


def test_command_refuses_a_file_without_texts(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = model_folder.parent / "empty.txt"
    empty.write_text("\n\n")
    assert exit_status("tune", model_folder, "--data", empty) == 2
    assert "holds no text" in capsys.readouterr().err


def test_command_reads_the_texts_of_a_jsonl_file(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = model_folder.parent / "texts.jsonl"
    lines.write_text('{"passage": "no text"}\n')
    assert exit_status("tune", model_folder, "--data", lines) == 4
    assert "texts.jsonl line 1: has no field 'text'" in capsys.readouterr().err
