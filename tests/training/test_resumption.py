# SPDX-License-Identifier: MIT
"""A run that was killed goes on from its last checkpoint and ends with the same bits; other folders are refused."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from fastformers.config import TrainConfig
from fastformers.errors import ConfigError, FormatError
from fastformers.tasks import EncodedExamples, encode
from fastformers.training import Objective, TrainingReport, train_, trainer

MakeData = Callable[..., EncodedExamples]
MakeModel = Callable[..., Any]

# 22 examples: 6 batches and 3 steps an epoch, 9 steps in all, evaluations at 2, 4, 6, 8, 9.
CONFIG = TrainConfig(epochs=3, learning_rate=1e-3, batch_size=4, accumulation=2, evaluate_every=2)


class Killed(Exception):
    pass


def killing(at_step: int) -> Callable[[str, int, int], None]:
    def stop(stage: str, step: int, steps: int) -> None:
        if step == at_step:
            raise Killed

    return stop


class Projected(Objective):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.projection = nn.Linear(2, 2)

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        logits = model(batch["input_ids"], batch["attention_mask"]).logits
        self.seen_dtype = logits.dtype
        return functional.cross_entropy(self.projection(functional.dropout(logits)), batch["labels"])


@pytest.fixture
def data(make_data: MakeData) -> tuple[EncodedExamples, EncodedExamples]:
    return make_data(22), make_data(12, 1)


def course(report: TrainingReport) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in report.history]


def assert_same(one: nn.Module, other: nn.Module) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("at_step", "seconds"), [(1, 1e9), (4, 1e9), (6, 1e9), (9, 1e9), (4, 0.0), (7, 0.0)])
def test_a_killed_run_goes_on_bit_for_bit(
    make_model: MakeModel,
    data: tuple[EncodedExamples, EncodedExamples],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_step: int,
    seconds: float,
    precision: Any,
) -> None:
    if precision == "bfloat16" and not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("this CPU has no bfloat16 products")
    config = replace(CONFIG, device="cpu", precision=precision)
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", seconds)
    whole_model, whole_objective = make_model(), Projected()
    whole = train_(whole_model, *data, config, objective=whole_objective)
    work = tmp_path / "work"
    with pytest.raises(Killed):
        train_(make_model(), *data, config, objective=Projected(), work_dir=work, progress=killing(at_step))
    model, objective, steps = make_model(), Projected(), []
    report = train_(
        model,
        *data,
        config,
        objective=objective,
        work_dir=work,
        progress=lambda _, step, __: steps.append(step),
    )
    evaluated = max(0, at_step - 1) // 2 * 2
    first = at_step - 1 if seconds == 0.0 else evaluated
    assert report.resumed_from == (first or None)
    assert steps == list(range(first + 1, 10))
    assert_same(model, whole_model)
    assert_same(objective, whole_objective)
    assert objective.seen_dtype == getattr(torch, precision)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert course(report) == course(whole)
    assert (report.score, report.metrics, report.best_step) == (whole.score, whole.metrics, whole.best_step)


def test_the_best_weights_survive_a_kill(
    make_model: MakeModel,
    data: tuple[EncodedExamples, EncodedExamples],
    tmp_path: Path,
) -> None:
    train, val = data
    swapped = [replace(example, label=1 - int(example.label or 0)) for example in val.examples]
    wrong = encode(swapped, val.tokenizer, val.task, max_length=16)  # the score falls the more is learned
    config = replace(CONFIG, epochs=20, learning_rate=3e-3)
    whole_model = make_model()
    whole = train_(whole_model, train, wrong, config)
    assert whole.best_step < 40 < whole.steps
    with pytest.raises(Killed):
        train_(make_model(), train, wrong, config, work_dir=tmp_path / "work", progress=killing(55))
    model = make_model()
    report = train_(model, train, wrong, config, work_dir=tmp_path / "work")
    assert report.resumed_from == 54
    assert report.best_step == whole.best_step
    assert_same(model, whole_model)


# Runs in a process of its own, and is killed by itself where the test wants it.
CHILD = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent / "shared")]
import torch
torch.set_num_threads(1)
from conftest import tiny_bert, toy_data, wordpiece
from fastformers.config import TrainConfig
from fastformers.training import train_, work_folder

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def between_steps(stage, step, steps):
    if step == 6:
        die()

def until_saving(stage, step, steps):
    if step == 6:
        work_folder.json_bytes = die

progress = {"between steps": between_steps, "while saving": until_saving}[sys.argv[3]]
data = toy_data(22, 0, wordpiece()), toy_data(12, 1, wordpiece())
config = TrainConfig(epochs=3, learning_rate=1e-3, batch_size=4, accumulation=2, evaluate_every=2)
train_(tiny_bert(), *data, config, work_dir=Path(sys.argv[2]), progress=progress)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["between steps", "while saving"])
def test_a_process_killed_by_the_system_goes_on_bit_for_bit(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path, moment: str
) -> None:
    work = tmp_path / "work"
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(work), moment]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    unfinished = [path for path in work.iterdir() if path.name.startswith(".checkpoint-")]
    assert bool(unfinished) is (moment == "while saving")
    model, whole_model = make_model(), make_model()
    report = train_(model, *data, CONFIG, work_dir=work)
    whole = train_(whole_model, *data, CONFIG)
    assert report.resumed_from == 4
    assert_same(model, whole_model)
    assert course(report) == course(whole)
    assert sorted(path.name for path in work.iterdir()) == ["checkpoint", "run.json"]


@pytest.mark.parametrize("with_val", [True, False])
def test_a_finished_run_is_read_and_not_trained_again(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path, with_val: bool
) -> None:
    val = data[1] if with_val else None
    first, second, steps = make_model(), make_model(), []
    report = train_(first, data[0], val, CONFIG, work_dir=tmp_path / "work")
    again = train_(
        second,
        data[0],
        val,
        CONFIG,
        work_dir=tmp_path / "work",
        progress=lambda _, step, __: steps.append(step),
    )
    assert steps == []
    assert_same(first, second)
    assert (again.score, again.best_step, again.steps) == (report.score, report.best_step, report.steps)


def test_a_run_that_stopped_early_stays_stopped(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path
) -> None:
    config = replace(CONFIG, learning_rate=1e-9, patience=2)  # too little for any score to change
    first, second = make_model(), make_model()
    report = train_(first, *data, config, work_dir=tmp_path / "work")
    again = train_(second, *data, config, work_dir=tmp_path / "work")
    assert report.stopped_early
    assert again.stopped_early
    assert (again.steps, again.best_step) == (report.steps, report.best_step) == (6, 2)
    assert_same(first, second)


def test_the_folder_of_another_run_is_refused_and_the_difference_named(
    make_model: MakeModel, make_data: MakeData, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path
) -> None:
    train, val = data
    work = tmp_path / "work"
    train_(make_model(), train, val, CONFIG, work_dir=work)
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    other_model = make_model()
    with torch.no_grad():
        other_model.classifier.bias[0] += 1e-6
    for arguments, difference in (
        ((other_model, train, val, CONFIG), "the model"),
        ((make_model(hidden_act="relu"), train, val, CONFIG), "the model"),
        ((make_model(), make_data(21), val, CONFIG), "the training examples"),
        ((make_model(), train, None, CONFIG), "the validation examples"),
        ((make_model(), train, val, replace(CONFIG, learning_rate=0.5)), "learning_rate is 0.5, was 0.001"),
    ):
        with pytest.raises(ConfigError, match=f"another run: {difference}"):
            train_(*arguments, work_dir=work)
    with pytest.raises(ConfigError, match="the objective is another one"):
        train_(make_model(), train, val, CONFIG, objective=Projected(), work_dir=work)
    assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before


def test_a_run_that_ended_before_its_first_checkpoint_leaves_the_folder_to_any_other(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path
) -> None:
    """As after a loss that was no number, which says to try another learning rate."""
    with pytest.raises(Killed):
        train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work", progress=killing(1))
    other, whole = make_model(), make_model()
    config = replace(CONFIG, learning_rate=5e-4)
    assert train_(other, *data, config, work_dir=tmp_path / "work").resumed_from is None
    train_(whole, *data, config)
    assert_same(other, whole)


@pytest.mark.parametrize(
    ("name", "other", "difference"),
    [
        # as after a move to a machine without the GPU that it began on
        (
            "training.train.precision_of",
            lambda config, device: "bfloat16",
            "precision is 'bfloat16', was 'float32'",
        ),
        # as after an update of this package that makes batches by another rule
        ("tasks.batching._LEAST_BLOCKS", 1, "the order of the batches is another one"),
    ],
)
def test_a_run_does_not_go_on_where_it_would_end_otherwise(
    name: str,
    other: Any,
    difference: str,
    make_model: MakeModel,
    data: tuple[EncodedExamples, EncodedExamples],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work")
    monkeypatch.setattr(f"fastformers.{name}", other)
    with pytest.raises(ConfigError, match=f"another run: {difference}"):
        train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work")


@pytest.mark.parametrize(
    ("writer", "error"),
    [
        ("fastformers.training.trainer.save_file", SafetensorError("I/O error: No space left on device")),
        ("torch.save", RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos")),
    ],
)
def test_a_full_disk_is_told_and_the_checkpoint_before_is_kept(
    make_model: MakeModel,
    data: tuple[EncodedExamples, EncodedExamples],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writer: str,
    error: Exception,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise error

    def filling(stage: str, step: int, steps: int) -> None:
        if step == 5:
            monkeypatch.setattr(writer, full)

    whole = make_model()
    train_(whole, *data, CONFIG)
    work = tmp_path / "work"
    monkeypatch.setattr("fastformers.training.trainer.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(OSError, match=r"cannot be written: .*make room\), run the same command again"):
        train_(make_model(), *data, CONFIG, work_dir=work, progress=filling)
    monkeypatch.undo()
    again = make_model()
    assert train_(again, *data, CONFIG, work_dir=work).resumed_from == 4
    assert_same(again, whole)


def test_objectives_are_told_apart_by_what_they_describe(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path
) -> None:
    class Scaled(Projected):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def describe(self) -> dict[str, float]:
            return {"factor": self.factor}

    train_(make_model(), *data, CONFIG, objective=Scaled(1.0), work_dir=tmp_path / "work")
    with pytest.raises(ConfigError, match="the objective is another one"):
        train_(make_model(), *data, CONFIG, objective=Scaled(2.0), work_dir=tmp_path / "work")


def test_folders_of_others_are_left_alone(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("you")
    for path, problem in (
        (tmp_path / "letters", "no work folder"),
        (tmp_path / "no" / "where", "make it first"),
    ):
        with pytest.raises(ConfigError, match=problem):
            train_(make_model(), *data, CONFIG, work_dir=path)
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


CHECKPOINT_FILES = (
    "files.json",
    "state.json",
    "best.safetensors",
    "trainer/model.safetensors",
    "trainer/optimizer.pt",
    "trainer/scheduler.pt",
    "trainer/rng_state.pth",
    "trainer/trainer_state.json",
)


@pytest.fixture(scope="module")
def interrupted(make_model: MakeModel, make_data: MakeData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("interrupted") / "work"
    with pytest.raises(Killed):
        train_(make_model(), make_data(22), make_data(12, 1), CONFIG, work_dir=work, progress=killing(5))
    return work


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(("run.json", "checkpoint/files.json"), ("torn", "emptied", "one bit")),
        *product((f"checkpoint/{name}" for name in CHECKPOINT_FILES[1:]), ("torn", "one bit", "missing")),
    ],
)
def test_damage_is_found_and_the_remedy_told(
    make_model: MakeModel,
    data: tuple[EncodedExamples, EncodedExamples],
    interrupted: Path,
    tmp_path: Path,
    name: str,
    damage: str,
) -> None:
    work = Path(shutil.copytree(interrupted, tmp_path / "work"))
    content = (work / name).read_bytes()
    middle = len(content) // 2
    damaged = {
        "torn": content[:middle],
        "emptied": b"",
        "one bit": content[:middle] + bytes([content[middle] ^ 128]) + content[middle + 1 :],
    }
    (work / name).unlink()
    if damage in damaged:
        (work / name).write_bytes(damaged[damage])
    with pytest.raises(FormatError, match=f"delete {re.escape(str(work))} to start anew"):
        train_(make_model(), *data, CONFIG, work_dir=work)


def test_a_checkpoint_without_checksums_goes_on(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], interrupted: Path, tmp_path: Path
) -> None:
    work = Path(shutil.copytree(interrupted, tmp_path / "work"))
    (work / "checkpoint" / "files.json").unlink()
    assert train_(make_model(), *data, CONFIG, work_dir=work).resumed_from == 4


def test_nothing_in_a_work_folder_needs_unrestricted_unpickling(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path
) -> None:
    train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work")
    names = sorted(path.name for path in (tmp_path / "work").rglob("*") if path.is_file())
    assert names == [
        "best.safetensors",
        "files.json",
        "model.safetensors",
        "optimizer.pt",
        "rng_state.pth",
        "run.json",
        "scheduler.pt",
        "state.json",
        "trainer_state.json",
    ]
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.load(tmp_path / "work" / "checkpoint" / "trainer" / name, weights_only=True)


def test_file_systems_without_second_names_for_files_are_good_enough(
    make_model: MakeModel,
    data: tuple[EncodedExamples, EncodedExamples],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("fastformers.training.trainer.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = make_model()
    train_(whole, *data, CONFIG)
    with pytest.raises(Killed):
        train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work", progress=killing(7))
    model = make_model()
    assert train_(model, *data, CONFIG, work_dir=tmp_path / "work").resumed_from == 6
    assert_same(model, whole)


def test_two_runs_do_not_share_a_folder(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path
) -> None:
    def another(stage: str, step: int, steps: int) -> None:
        with pytest.raises(ConfigError, match=r"another process is training in .*work"):
            train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work")

    report = train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work", progress=another)
    assert report.steps == report.planned_steps
    train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work")  # it is free again


def test_a_start_that_failed_leaves_the_folder_free(
    make_model: MakeModel,
    data: tuple[EncodedExamples, EncodedExamples],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("fastformers.training.work_folder.replace_file", full)
    with pytest.raises(OSError, match="No space left"):
        train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work")
    monkeypatch.undo()
    assert train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work").resumed_from is None


def test_what_a_kill_at_the_very_start_left_is_no_folder_of_others(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".run.json-0123456789ab").write_text("half of")
    train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work")
    assert not list((tmp_path / "work").glob(".run.json-*"))


def test_a_run_that_trains_other_parameters_is_another_one(
    make_model: MakeModel, data: tuple[EncodedExamples, EncodedExamples], tmp_path: Path
) -> None:
    train_(make_model(), *data, CONFIG, work_dir=tmp_path / "work")
    frozen = make_model()
    frozen.bert.embeddings.requires_grad_(False)
    with pytest.raises(ConfigError, match="the choice of parameters that are trained is another one"):
        train_(frozen, *data, CONFIG, work_dir=tmp_path / "work")
