# SPDX-License-Identifier: MIT
"""``fastformers cost``: costs of saved speeds, the price table, and statuses for what cannot be priced."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import exit_status

import fastformers as ff
from fastformers.benchmarking.price_table import price_table
from fastformers.cli.exit_codes import ExitCode


def saved(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "speeds.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def ladder(folder: Path, **fields: Any) -> Path:
    """The first and the last row of the paper's Table 3."""
    rows = [
        {"name": "padded", "queries_per_second": {"median": 3270 / 734.35}, "extrapolated": True},
        {
            "name": "pruned",
            "queries_per_second": {"median": 3270 / 3.14},
            "noisy": True,
            "joules_per_100m": 3.6e6,
        },
    ]
    return saved(folder, {"schema": "fastformers-ladder/1", "rows": rows, **fields})


def test_the_papers_costs_come_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("cost", ladder(tmp_path), "--price", "F16s_v2", "--json") == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert [round(row["usd_per_100m"]) for row in report["rows"]] == [4223, 18]
    assert report["price"] == {"name": "azure:F16s_v2", "usd_per_hour": 0.677, "date": "2020-11"}


def test_the_table_names_price_utilisation_and_doubts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("cost", ladder(tmp_path), "--price", "0.677", "--utilisation", "0.5")
    assert exit_status(*arguments) == ExitCode.OK
    printed = " ".join(capsys.readouterr().out.split())
    assert "8,446" in printed  # twice 4,223
    assert "At 0.677 USD/h (as given), the machine busy 50 % of the time" in printed
    assert "padded *" in printed
    assert "pruned ~" in printed
    assert "not quiet" in printed
    assert "extrapolated" in printed


def test_names_with_brackets_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"name": name, "queries_per_second": 5.0} for name in ("engine [pinned]", "a [/b] c")]
    price = {"name": "my [box]", "usd_per_hour": 1}
    path = saved(tmp_path, {"schema": "fastformers-ladder/1", "rows": rows, "price": price})
    assert exit_status("cost", path) == ExitCode.OK
    printed = " ".join(capsys.readouterr().out.split())
    assert "engine [pinned]" in printed
    assert "a [/b] c" in printed
    assert "1 USD/h (my [box])" in printed


def test_a_measurement_is_priced_as_it_was_measured_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ff.measure(
        lambda text: time.sleep(0.001), ["a"], price=1.0, utilisation=0.5, seconds=0.03, rounds=3, warmup=0
    )
    path = saved(tmp_path, found.to_dict())
    assert exit_status("cost", path, "--json") == ExitCode.OK
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["usd_per_100m"] == found.usd_per_100m
    assert exit_status("cost", path, "--price", "2", "--utilisation", "1", "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["rows"][0]["usd_per_100m"] == pytest.approx(
        found.usd_per_100m,
        rel=1e-12,  # twice the price, twice the use: rounding of floats only
    )


def test_nothing_to_pay_and_no_energy_are_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "free", "queries_per_second": {"median": 2.0}, "joules_per_100m": 0.0}
    free = {
        "schema": "fastformers-ladder/1",
        "price": {"name": "as given", "usd_per_hour": 0.0},
        "rows": [row],
    }
    assert exit_status("cost", saved(tmp_path, free), "--json") == ExitCode.OK
    (found,) = json.loads(capsys.readouterr().out)["rows"]
    assert (found["usd_per_100m"], found["joules_per_100m"]) == (0.0, 0.0)


def test_a_table_of_instances_is_priced_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"model": "teacher", "mode": "threads", "instances": 2, "threads": 1, "noisy": True}
    table = {
        "schema": "fastformers-instances/1",
        "price": None,
        "utilisation": 1.0,
        "rows": [{**row, "queries_per_second": 1e8 / 3600}],
    }
    assert exit_status("cost", saved(tmp_path, table), "--price", 3, "--json") == ExitCode.OK
    (found,) = json.loads(capsys.readouterr().out)["rows"]
    assert (found["name"], found["noisy"]) == ("teacher, 2 x 1, threads", True)
    assert found["usd_per_100m"] == pytest.approx(3.0, rel=1e-12)  # an hour; floats


def test_names_of_machines_are_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert exit_status("cost", "--list") == ExitCode.OK
    printed = capsys.readouterr().out
    assert [row.full_name for row in price_table() if row.full_name not in printed] == []


def test_prices_are_listed_with_their_dates(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("cost", "--list") == ExitCode.OK
    printed = capsys.readouterr().out
    assert "azure:F16s_v2" in printed
    assert "2020-11" in printed
    assert "Prices change" in printed
    assert exit_status("cost", "--list", "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)[0]["provider"] == "azure"


def test_co2_stands_beside_the_energy_it_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastformers.benchmarking import energy
    from fastformers.benchmarking.energy import CarbonIntensity

    monkeypatch.setattr(energy, "carbon_intensity", lambda country: CarbonIntensity(country, 400.0, 2023))
    options = (ladder(tmp_path), "--price", "1", "--country", "DEU")
    assert exit_status("cost", *options, "--json") == ExitCode.OK
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["kg_co2_per_100m"] for row in rows] == [None, 0.4]  # 1 kWh of the second row
    assert exit_status("cost", *options) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "kg CO2" in printed
    assert "400 g CO2 a kWh (DEU, 2023)" in printed


def test_demo_results_can_be_priced(tmp_path: Path) -> None:
    rows = [{"name": "teacher", "queries_per_second": {"median": 36.0}}]
    path = saved(tmp_path, {"schema": "fastformers-demo/3", "rows": rows})
    assert exit_status("cost", path, "--price", "0.1") == ExitCode.OK


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ({"schema": "fastformers-explain/1"}, ExitCode.BAD_FILE, "speeds are read from"),
        ({"schema": ["x"]}, ExitCode.BAD_FILE, "speeds are read from"),
        ({"schema": "fastformers-ladder/1", "rows": []}, ExitCode.BAD_FILE, "no rows"),
        (
            {"schema": "fastformers-ladder/1", "rows": [{"name": "a", "queries_per_second": {"median": 0}}]},
            ExitCode.BAD_FILE,
            "a: queries_per_second is 0",
        ),
        (
            {"schema": "fastformers-ladder/1", "rows": [{"queries_per_second": {"median": 1}}]},
            ExitCode.USAGE,
            "without a price",
        ),
        (
            {"schema": "fastformers-ladder/1", "price": 3, "rows": [{"queries_per_second": {"median": 1}}]},
            ExitCode.BAD_FILE,
            "price is 3",
        ),
    ],
)
def test_what_cannot_be_priced_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: dict[str, Any], status: int, message: str
) -> None:
    assert exit_status("cost", saved(tmp_path, content)) == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--price", "F16s"), "azure:F16s_v2"),
        (("--price", "1", "--utilisation", "60"), "utilisation is 60"),
        (("--price", "-1"), "price is '-1'"),
    ],
)
def test_wrong_options_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert exit_status("cost", ladder(tmp_path), *options) == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_no_file_and_damaged_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("cost") == ExitCode.USAGE
    assert "--list" in capsys.readouterr().err
    (tmp_path / "torn.json").write_text('{"schema": ')
    assert exit_status("cost", tmp_path / "torn.json") == ExitCode.BAD_FILE
