# SPDX-License-Identifier: MIT
"""A save that is interrupted, by an error at any step or by SIGKILL at any moment, leaves the old artefact whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import ConfigError
from fastformers.files import replaced_folder
from fastformers.runtime import artefact_folder
from fastformers.runtime.artefact_folder import read_artefact, save_artefact

Arrays = dict[str, np.ndarray[Any, Any]]

#: Where a save can fail: (module, name of what it calls), in the order of the steps.
STEPS = [
    (artefact_folder, "write_tensors"),
    (artefact_folder, "NativeEncoder"),
    (artefact_folder, "_write_json"),
    (artefact_folder, "write_tokenizer"),
    (artefact_folder, "sha256_of"),
    (replaced_folder, "_flush"),
    (replaced_folder, "_move"),
]
KILLS = 12
SAVE_FOREVER = """
import sys
from fastformers.runtime.artefact_folder import read_artefact, save_artefact
source, other, target = sys.argv[1:]
one, two = read_artefact(source), read_artefact(other)
print("ready", flush=True)
while True:
    for each in (one, two):
        save_artefact(target, each.plan, each.tensors, config=each.config, overwrite=True)
"""


def content_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("calls_before", [0, 1, 3])
def test_an_error_at_any_step_leaves_the_old_artefact(
    damaged: Path,
    plan: EncoderPlan,
    make_tensors: Callable[..., Arrays],
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    calls_before: int,
) -> None:
    before = content_of(damaged)
    real, calls = getattr(module, name), 0

    def fail(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > calls_before:
            raise OSError(28, "No space left on device")
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, fail)
    tensors = make_tensors(plan, seed=1)
    try:
        save_artefact(
            damaged, plan, tensors, config={}, tokenizer=tokenizer, report={"new": True}, overwrite=True
        )
    except OSError:
        assert calls == calls_before + 1
        assert content_of(damaged) == before
    else:
        assert calls <= calls_before
        assert "layers" not in (read_artefact(damaged).report or {})
    assert [path.name for path in damaged.parent.iterdir()] == [damaged.name]


def test_a_killed_save_leaves_one_whole_artefact(
    saved: Path, tmp_path: Path, plan: EncoderPlan, make_tensors: Callable[..., Arrays]
) -> None:
    other, target = tmp_path / "other", tmp_path / "target"
    save_artefact(other, plan, make_tensors(plan, seed=1), config={})
    versions = [read_artefact(folder).tensors["embeddings.type"].tobytes() for folder in (saved, other)]
    save_artefact(target, plan, make_tensors(plan), config={})
    pause = random.Random(0)
    for _ in range(KILLS):
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, saved, other, target], stdout=subprocess.PIPE, text=True
        )
        assert saver.stdout is not None
        assert saver.stdout.readline() == "ready\n"
        time.sleep(pause.uniform(0.0, 0.1))
        saver.send_signal(signal.SIGKILL)
        saver.communicate()
        assert read_artefact(target, verify="full").tensors["embeddings.type"].tobytes() in versions


def test_an_artefact_can_be_read_while_it_is_replaced(
    damaged: Path, plan: EncoderPlan, make_tensors: Callable[..., Arrays]
) -> None:
    reads: list[bytes] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def read_all_the_time() -> None:
        while not stop.is_set():
            try:
                reads.append(read_artefact(damaged, verify="full").tensors["embeddings.type"].tobytes())
            except Exception as error:
                errors.append(error)
                return

    reader = threading.Thread(target=read_all_the_time)
    reader.start()
    choices = [make_tensors(plan, seed=seed) for seed in (1, 2)]
    for count in range(30):
        save_artefact(damaged, plan, choices[count % 2], config={}, overwrite=True)
    stop.set()
    reader.join()
    assert errors == []
    assert len(set(reads)) > 1


def test_only_an_artefact_is_overwritten(
    tmp_path: Path, plan: EncoderPlan, make_tensors: Callable[..., Arrays]
) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("all of it")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"not empty|not overwritten"):
            save_artefact(target, plan, make_tensors(plan), config={}, overwrite=overwrite)
    assert os.listdir(target) == ["thesis.txt"]
