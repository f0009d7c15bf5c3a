# SPDX-License-Identifier: MIT
"""A table of instances that was interrupted goes on from its last whole round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastformers import kernels
from fastformers.benchmarking import tune
from fastformers.benchmarking.ladder.instances import InstancesReport, instances_table
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.systems import folder_systems
from fastformers.errors import ConfigError

ARRANGEMENTS = len(tune.arrangements_to_try(kernels.default_threads(), [1]))
READINGS = 4 * ARRANGEMENTS  # of a model: warm-up and three rounds


class Speeds:
    """Readings that are quick, alike and counted; the run is interrupted before one of them."""

    def __init__(self, interrupted_at: int) -> None:
        self.taken, self._end = 0, interrupted_at

    def __call__(self, *_: object) -> tune.ArrangementReading:
        if self.taken == self._end:
            raise KeyboardInterrupt
        self.taken += 1
        return tune.ArrangementReading(100.0 + self.taken / 100, (0.001, 0.002))


def test_an_interrupted_table_goes_on_and_leaves_no_readings_behind(
    folders: dict[str, Path],
    data: Path,
    tmp_path: Path,
    quick: Callable[..., LadderSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    systems = folder_systems(folders["teacher"], [folders["student"]], [], data)

    def table(speeds: Speeds, most_texts: int = 8, told: list[str] | None = None) -> InstancesReport:
        monkeypatch.setattr(tune, "_read", speeds)
        tell = [].append if told is None else told.append
        return instances_table(systems, tmp_path, quick(most_texts=most_texts), processes=False, tell=tell)

    with pytest.raises(KeyboardInterrupt):  # the second model, before the last reading of its second round
        table(Speeds(READINGS + 3 * ARRANGEMENTS - 1))
    with pytest.raises(ConfigError, match="other models, texts"):
        table(Speeds(-1), most_texts=9)
    told: list[str] = []
    again = Speeds(-1)
    report = table(again, told=told)
    assert [line for line in told if "earlier run" in line] == [
        "3 rounds of an earlier run are there",
        "1 round of an earlier run is there",
    ]
    assert again.taken == (1 + 0) * ARRANGEMENTS + (1 + 2) * ARRANGEMENTS  # warm-ups, and what was missing
    assert report.rows[0].queries_per_second == pytest.approx(100 + (2 * ARRANGEMENTS + 1.5) / 100, abs=0.1)
    assert not any(row.noisy for row in report.rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["instances.json", "instances.md", "models"]
