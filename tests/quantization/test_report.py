# SPDX-License-Identifier: MIT
"""The report says in words and in JSON what was done, and raises when a limit is missed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import fastformers as ff
from fastformers import errors
from fastformers.quantization import Agreement, LayerReport, QuantizationReport
from fastformers.quantization.timing import LayerTiming


def layer(name: str, decision: str = "int8", reason: str = "INT8 is 2.00x as fast here") -> LayerReport:
    swapped = decision == "int8"
    return LayerReport(
        name,
        (1536, 384),
        decision,
        reason,
        isa="avx2" if swapped else None,
        activation="gelu" if swapped else None,
        timings=(LayerTiming(32, 200.0, 100.0), LayerTiming(256, 1500.0, 500.0, cached=True))
        if swapped
        else (),
        sqnr_db=40.0 if name.startswith("encoder.layer.0") else 35.0,
        float_bytes=4 * 1536 * 384,
        packed_bytes=600_000 if swapped else 0,
    )


@pytest.fixture
def report() -> QuantizationReport:
    return QuantizationReport(
        layers=(
            layer("encoder.layer.0.intermediate.dense"),
            layer("encoder.layer.11.intermediate.dense"),
            layer("pooler.dense", "float", "head (include_head=True quantizes it)"),
        ),
        agreement=Agreement(64, 0.9994, 0.9981, 0.97, 0.03, "the nearest other text"),
        config=ff.Int8Config(exclude=("encoder.layer.3",)),
        calibration="on 64 texts given",
        machine={"cpu": "A CPU", "isa": "avx2", "threads": 1},
        model_bytes=(90_000_000, 59_000_000),
        notes=("a note",),
    )


def test_text_tells_a_stranger_everything(report: QuantizationReport) -> None:
    text = str(report)
    for part in (
        "encoder.layer.*.intermediate.dense",
        "2 of",
        "1536 x 384",
        "200.0 us",
        "1.50 ms",
        "3.00x",
        "35.0 dB",
        "INT8 + gelu",
        "pooler.dense: head (include_head=True quantizes it)",
        "2 of 3 were swapped",
        "2.83x as fast",
        "90.0 MB -> 59.0 MB (0.66x)",
        "0.9994 mean, 0.9981 worst",
        "3.00% differ (the nearest other text)",
        "on 64 texts given",
        "cpu A CPU",
        "a note",
    ):
        assert part in text, part
    assert "\x1b" not in text
    assert max(map(len, text.splitlines()[:8])) <= 116


def test_layers_with_other_numbers_have_lines_of_their_own(report: QuantizationReport) -> None:
    faster = replace(report.layers[1], timings=(LayerTiming(32, 200.0, 50.0),))
    text = str(replace(report, layers=(report.layers[0], faster, report.layers[2])))
    assert "encoder.layer.0.intermediate.dense" in text
    assert "encoder.layer.11.intermediate.dense" in text


def test_goes_through_json_unchanged(report: QuantizationReport) -> None:
    values = json.loads(report.to_json())
    assert values["layers"][0]["speedup"] == 2.0
    assert values["speedup"] == pytest.approx(3400 / 1200)
    again = QuantizationReport.from_dict(values)
    assert again == report
    assert again.to_json() == report.to_json()


@pytest.mark.parametrize("broken", [{}, {"layers": 3}, {"layers": [{}]}, {"agreement": {"x": 1}}])
def test_a_broken_report_is_refused(report: QuantizationReport, broken: dict[str, object]) -> None:
    values = {**report.to_dict(), **broken} if broken else {}
    with pytest.raises(errors.FormatError, match="not a quantization report"):
        QuantizationReport.from_dict(values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 1),
        ("decision", "int4"),
        ("decision", []),
        ("sqnr_db", "high"),
        ("float_bytes", None),
        ("isa", {}),
    ],
)
def test_a_report_with_a_field_of_another_type_is_refused(
    report: QuantizationReport, field: str, value: object
) -> None:
    values = report.to_dict()
    values["layers"][0][field] = value
    with pytest.raises(errors.FormatError, match=field):
        QuantizationReport.from_dict(values)
    values = report.to_dict()
    values["layers"][0]["timings"][0]["packed_us"] = 0.0
    with pytest.raises(errors.FormatError, match="timings"):
        QuantizationReport.from_dict(values)


def test_speedup_counts_layers_that_stayed_float_as_unchanged(report: QuantizationReport) -> None:
    slow = replace(report.layers[2], timings=(LayerTiming(32, 1000.0, 1100.0),))
    assert replace(report, layers=(slow,)).speedup == 1.0
    both = replace(report, layers=(report.layers[0], slow))
    assert both.speedup == pytest.approx(2700 / 1600)
    assert replace(report, layers=report.layers[2:]).speedup is None
    assert report.linear_bytes == (2 * 4 * 1536 * 384, 1_200_000)


def test_limits(report: QuantizationReport) -> None:
    report.raise_if()
    report.raise_if(min_speedup=2.8, max_disagreement=0.03)
    with pytest.raises(errors.GateError, match=r"is 2.83x, asked for: at least 3x"):
        report.raise_if(min_speedup=3)
    with pytest.raises(errors.GateError, match=r"3.00% of the answers .* allowed: 2.00%"):
        report.raise_if(max_disagreement=0.02)
    unmeasured = replace(report, agreement=None, layers=report.layers[2:])
    with pytest.raises(errors.GateError, match=r"speed-up .* was not measured"):
        unmeasured.raise_if(min_speedup=1)
    with pytest.raises(errors.GateError, match="disagreement was not measured"):
        replace(report, agreement=None).raise_if(max_disagreement=1)
    unmeasured.raise_if(max_disagreement=0)  # every layer is float: no answer can have changed
