# SPDX-License-Identifier: MIT
"""Times are measured once per shape, remembered, and decide: a layer that is not faster stays float."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastformers as ff
from fastformers import kernels
from fastformers.quantization.timing import TimingCache, cache_directory, measure_layer, row_buckets

Install = Callable[[Callable[..., tuple[float, float]]], list[Any]]


@pytest.mark.parametrize(
    ("seen", "rows"),
    [
        ([], (32, 256)),
        ([1], (1,)),
        ([100] * 10, (128,)),
        ([90], (64,)),
        ([97], (128,)),
        ([8] * 9 + [1000] * 2, (8, 1024)),
        ([0, 0, 5], (4,)),
    ],
)
def test_times_are_taken_at_the_nearest_powers_of_two(seen: list[int], rows: tuple[int, ...]) -> None:
    assert row_buckets(seen) == rows


def test_a_layer_is_timed_in_both_versions() -> None:
    found = measure_layer(nn.Linear(64, 64), "gelu", 16, False, None)
    assert found.rows == 16
    assert 0 < found.packed_us < 1e6
    assert 0 < found.float_us < 1e6
    assert found.speedup == found.float_us / found.packed_us


def test_thread_counts_are_as_before_after_timing() -> None:
    before = torch.get_num_threads(), kernels.num_threads()
    measure_layer(nn.Linear(8, 8), None, 1, False, 2)
    assert (torch.get_num_threads(), kernels.num_threads()) == before


def test_layers_of_one_shape_are_measured_once(
    plain_inputs: list[Tensor], fake_times: Install, timing_cache: Path
) -> None:
    calls = fake_times(lambda *_: (200.0, 100.0))
    model = nn.Sequential(*(nn.Linear(40, 40) for _ in range(5))).eval()
    report = ff.quantize_(model, texts=plain_inputs)
    assert calls == [(40, 40, None, 8)]
    assert [layer.timings[0].cached for layer in report.layers] == [False, True, True, True, True]
    (key,) = json.loads((timing_cache / "timings.json").read_text())["entries"]
    for part in (kernels.active_isa(), torch.__version__, "M 8 N 40 K 40", "no activation", "per token"):
        assert part in key


def test_a_layer_that_is_not_faster_stays_float(
    plain: nn.Sequential, plain_inputs: list[Tensor], fake_times: Install
) -> None:
    fake_times(lambda linear, rows: (100.0, 96.0 if linear.out_features == 64 else 50.0))
    first = plain[0]
    report = ff.quantize_(plain, texts=plain_inputs)
    decisions = {layer.name: (layer.decision, layer.speedup) for layer in report.layers}
    assert decisions == {"0": ("float", pytest.approx(100 / 96)), "2": ("int8", 2.0), "4": ("int8", 2.0)}
    assert plain[0] is first
    assert type(plain[1]) is nn.ReLU
    assert report.layers[0].reason == "INT8 is 1.04x as fast here, below 1.05x"
    assert report.speedup == pytest.approx(300 / 200)


def test_the_least_favourable_row_count_decides(fake_times: Install) -> None:
    fake_times(lambda linear, rows: (100.0, 10.0 if rows == 8 else 120.0))
    model = nn.Sequential(nn.Linear(40, 40)).eval()
    rows = [torch.randn(8, 40)] * 8 + [torch.randn(128, 40)] * 2
    report = ff.quantize_(model, texts=rows)
    assert [timing.rows for timing in report.layers[0].timings] == [8, 128]
    assert report.layers[0].decision == "float"


def test_the_threshold_is_the_users(
    plain: nn.Sequential, plain_inputs: list[Tensor], fake_times: Install
) -> None:
    fake_times(lambda *_: (100.0, 96.0))
    report = ff.quantize_(plain, ff.Int8Config(min_speedup=1.0), texts=plain_inputs)
    assert {layer.decision for layer in report.layers} == {"int8"}


def test_never_slower_off_swaps_without_measuring(
    plain: nn.Sequential, plain_inputs: list[Tensor], fake_times: Install
) -> None:
    calls = fake_times(lambda *_: (1.0, 100.0))
    report = ff.quantize_(plain, ff.Int8Config(never_slower=False), texts=plain_inputs)
    assert not calls
    assert {layer.decision for layer in report.layers} == {"int8"}
    assert report.speedup is None


def test_a_choice_is_the_same_in_a_later_run(plain_inputs: list[Tensor], fake_times: Install) -> None:
    def run() -> list[str]:
        report = ff.quantize_(nn.Sequential(nn.Linear(40, 40)).eval(), texts=plain_inputs)
        return [layer.decision for layer in report.layers]

    fake_times(lambda *_: (100.0, 90.0))
    assert run() == ["int8"]
    calls = fake_times(lambda *_: (100.0, 110.0))
    assert run() == ["int8"]
    assert not calls


def test_other_settings_are_measured_anew(fake_times: Install) -> None:
    calls = fake_times(lambda *_: (100.0, 90.0))
    layer = nn.Linear(40, 40)
    for _ in range(2):
        TimingCache().time_layer(layer, None, 8, False)
        TimingCache().time_layer(layer, "relu", 8, False)
        TimingCache().time_layer(layer, None, 16, False)
        TimingCache().time_layer(layer, None, 8, True)
        TimingCache(threads=kernels.num_threads() + 1).time_layer(layer, None, 8, False)
    assert len(calls) == 5


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 2, "entries": {}}',
        '{"format": 1, "entries": {"a": {"float_us": 1}}}',
        '{"format": 1, "entries": {"a": {"float_us": 0, "packed_us": 1}}}',
        '{"format": 1, "entries": {"a": {"float_us": NaN, "packed_us": 1}}}',
        '{"format": 1, "entries": ["a"]}',
        "\x00\xff",
    ],
)
def test_a_damaged_cache_is_ignored_and_replaced(
    timing_cache: Path, fake_times: Install, content: str
) -> None:
    timing_cache.mkdir()
    file = timing_cache / "timings.json"
    file.write_bytes(content.encode("latin-1"))
    fake_times(lambda *_: (100.0, 90.0))
    cache = TimingCache()
    assert "damaged" in cache.notes[0]
    assert cache.time_layer(nn.Linear(40, 40), None, 8, False).packed_us == 90.0
    assert not TimingCache().notes
    assert [path.name for path in timing_cache.iterdir()] == ["timings.json"]


def test_a_cache_that_cannot_be_written_costs_a_note(timing_cache: Path, fake_times: Install) -> None:
    timing_cache.write_text("a file where the folder should be")
    fake_times(lambda *_: (100.0, 90.0))
    cache = TimingCache()
    assert cache.time_layer(nn.Linear(40, 40), None, 8, False).packed_us == 90.0
    assert any("could not be cached" in note for note in cache.notes)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("FASTFORMERS_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "fastformers"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "fastformers"
