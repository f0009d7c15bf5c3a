# SPDX-License-Identifier: MIT
"""Loading prints nothing of transformers' own, and leaves the user's settings as they were."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastformers.quiet_loading import quiet_loading

pytest.importorskip("torch", reason="models need the torch extra")
pytest.importorskip("transformers", reason="models need the torch extra")


class Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def settings() -> Iterator[Any]:
    """Transformers' logging module, with its defaults; put back after the test."""
    module = importlib.import_module("transformers.utils.logging")
    before, bars = module.get_verbosity(), module.is_progress_bar_enabled()
    module.set_verbosity_warning()
    module.enable_progress_bar()
    yield module
    module.set_verbosity(before)
    (module.enable_progress_bar if bars else module.disable_progress_bar)()


@pytest.fixture
def reports(settings: Any) -> Iterator[list[str]]:
    collector = Collector()
    settings.add_handler(collector)
    yield collector.messages
    settings.remove_handler(collector)


@pytest.fixture(scope="module")
def headless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("headless")
    sizes = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(**sizes, intermediate_size=32)).save_pretrained(folder)
    return folder


def test_transformers_alone_prints_bars_and_a_report(
    headless: Path, reports: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import BertForSequenceClassification

    BertForSequenceClassification.from_pretrained(headless)
    assert any("classifier.weight" in message for message in reports)
    assert "Loading weights" in capsys.readouterr().err


def test_building_a_model_for_a_task_prints_nothing(
    headless: Path, reports: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from fastformers.tasks import build_model, get_task

    build_model(get_task("rte"), headless)
    assert reports == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fails", [False, True])
def test_all_settings_are_put_back(settings: Any, fails: bool) -> None:
    states = importlib.import_module("huggingface_hub.utils.tqdm").progress_bar_states
    importlib.import_module("huggingface_hub.utils").disable_progress_bars("my.downloads")
    before = dict(states)
    try:
        with quiet_loading():
            assert not settings.is_progress_bar_enabled()
            assert settings.get_verbosity() == logging.ERROR
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert settings.get_verbosity() == logging.WARNING
    assert settings.is_progress_bar_enabled()
    assert states == before
    assert states["my.downloads"] is False
    states.pop("my.downloads")


@pytest.mark.parametrize("verbosity", [logging.DEBUG, logging.INFO, logging.CRITICAL])
def test_a_verbosity_that_the_user_chose_is_left_alone(settings: Any, verbosity: int) -> None:
    settings.set_verbosity(verbosity)
    with quiet_loading():
        assert settings.get_verbosity() == verbosity
    assert settings.get_verbosity() == verbosity


def test_bars_that_the_user_asked_for_are_left_alone(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    with quiet_loading():
        assert settings.is_progress_bar_enabled()


def test_bars_that_were_off_stay_off(settings: Any) -> None:
    settings.disable_progress_bar()
    with quiet_loading():
        pass
    assert not settings.is_progress_bar_enabled()
