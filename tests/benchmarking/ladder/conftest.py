# SPDX-License-Identifier: MIT
"""Models and data of a small ladder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ladder_models import save_data, save_systems

from fastformers.benchmarking.ladder import rounds
from fastformers.benchmarking.ladder.settings import LadderSettings


@pytest.fixture(scope="session", autouse=True)
def short_readings() -> Iterator[None]:
    """Each reading answers its texts once, as short as that is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "LEAST_SECONDS", 0.0)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, Path]:
    """Folders of teacher, student and pruned."""
    return save_systems(tmp_path_factory.mktemp("models"), data)


@pytest.fixture
def quick() -> Callable[..., LadderSettings]:
    """Settings that take next to no time."""
    return lambda **fields: LadderSettings(**{"rounds": 3, "threads": 1, "energy": "off", **fields})
