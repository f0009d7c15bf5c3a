# SPDX-License-Identifier: MIT
"""A recipe runs each stage once, goes on after a kill, notices what changed, and reports what it measured."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch_threads
from search_recipe import search_recipe
from tiny_models import save_checkpoint, word_pieces

import fastformers as ff
from fastformers.errors import ConfigError, FormatError, GateError, NonFiniteError
from fastformers.measuring import Spread
from fastformers.recipes import estimate, recipe_run, recipe_search
from fastformers.recipes.compile_folder import saved_notes
from fastformers.recipes.dry_run import describe_plan, describe_search
from fastformers.recipes.estimate import size_of_folder
from fastformers.recipes.model_folder import open_model
from fastformers.recipes.one_run import only_run
from fastformers.recipes.recipe_plan import Ledger, Plan, plan_recipe
from fastformers.recipes.recipe_run import make_plan
from fastformers.recipes.recipe_stages import KINDS
from fastformers.recipes.search_space import SearchSpace
from fastformers.recipes.speed import Timed, time_models
from fastformers.tasks import get_task, predict_logits
from fastformers.training.schedule import plan_of

one_torch_thread = torch_threads.one_torch_thread

RECIPE = """
[recipe]
max_length = 24
seed = 3
[models]
base = ""
[[stage]]
name = "teacher"
kind = "train"
model = "base"
epochs = 6
learning_rate = 2e-3
batch_size = 8
[[stage]]
name = "student"
kind = "distill"
teacher = "teacher"
student = "teacher"
layers = [1, 3]
epochs = 2
learning_rate = 1e-3
[[stage]]
name = "smaller"
kind = "prune"
model = "student"
heads = 0.5
ffn = 0.5
[[stage]]
name = "int8"
kind = "quantize"
model = "smaller"
never_slower = false
[[stage]]
name = "fast"
kind = "compile"
model = "smaller"
"""
SEARCH = """
[search]
teacher = "teacher"
student = "base"
depth = [4, 1]
ffn = [1.0, 0.5]
trials = 3
epochs = 2
learning_rate = 2e-3
"""
STAGES = ["teacher", "student", "smaller", "int8", "fast"]


@pytest.fixture(autouse=True)
def little_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastformers.recipes.speed._MOST_ROUNDS", 3)


class Setting:
    """A recipe with its data and its models; counts the stages that run."""

    def __init__(self, folder: Path, data: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.data, self.base = folder, data, base
        self.ran: list[str] = []
        self.fails_at = ""
        for name, kind in KINDS.items():
            monkeypatch.setitem(
                KINDS,
                name,
                type(kind)(kind.roles, kind.config, kind.arguments, self._counted(kind), kind.nested),
            )

    def _counted(self, kind: Any) -> Any:
        def run(options: Any, context: Any) -> Any:
            if context.output.name == self.fails_at:
                raise KeyboardInterrupt
            self.ran.append(context.output.name)
            return kind.run(options, context)

        return run

    def run(self, text: str = RECIPE) -> Any:
        self.ran.clear()
        path = self.folder / "r.toml"
        path.write_text(text, encoding="utf-8")
        return ff.recipe(
            path, self.folder / "out", data=self.data, models={"base": self.base}, progress=False
        )


@pytest.fixture
def setting(
    tmp_path: Path, own_data: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> Setting:
    return Setting(tmp_path, own_data, tiny_checkpoint, monkeypatch)


def test_stages_run_once_and_a_change_runs_what_stands_on_it(setting: Setting) -> None:
    setting.fails_at = "smaller"
    with pytest.raises(KeyboardInterrupt):
        setting.run()
    assert setting.ran == STAGES[:2]
    setting.fails_at = ""
    report = setting.run()
    assert setting.ran == STAGES[2:]
    assert [row.name for row in report.rows] == STAGES
    assert [row.cached for row in report.rows] == [True, True, False, False, False]
    again = setting.run()
    assert setting.ran == []
    assert [row.score for row in again.rows] == [row.score for row in report.rows]
    setting.run(RECIPE.replace("heads = 0.5", "heads = 0.25"))
    assert setting.ran == STAGES[2:]
    setting.run(RECIPE.replace("seed = 3", "seed = 4"))
    assert setting.ran == STAGES


def test_a_teacher_answers_each_text_once_for_its_score_and_for_all_its_students(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = RECIPE[: RECIPE.index('[[stage]]\nname = "smaller"')]
    student = text[text.index('[[stage]]\nname = "student"') :]
    answered = []

    def counted(model: Any, encoded: Any, *rest: Any) -> Any:
        answered.append(len(encoded))
        return predict_logits(model, encoded, *rest)

    monkeypatch.setattr("fastformers.distillation.teacher_outputs.predict_logits", counted)
    report = setting.run(text + student.replace('"student"', '"another"', 1))
    assert setting.ran == ["teacher", "student", "another"]
    assert sorted(answered) == sorted(report.examples)
    told = json.loads(
        (setting.folder / "out" / "another" / "distill_report.json").read_text(encoding="utf-8")
    )
    assert told["teacher_score"] == report.rows[0].score


def test_a_training_stage_that_was_killed_is_taken_up_or_begun_anew(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastformers.recipes import training

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    work = setting.folder / "out" / "teacher.work"
    with monkeypatch.context() as patched:
        patched.setattr(training, "save_model", killed)  # trained to the end, and killed while it is saved
        with pytest.raises(KeyboardInterrupt):
            setting.run()
    assert work.is_dir()
    report = setting.run()
    log = json.loads((setting.folder / "out" / "teacher" / "train_log.json").read_text())
    assert log["resumed_from"] == log["steps"]
    assert not work.exists()
    with monkeypatch.context() as patched:
        patched.setattr(training, "save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            setting.run(RECIPE.replace("epochs = 6", "epochs = 5"))
    again = setting.run(RECIPE.replace("epochs = 6", "epochs = 7"))
    assert [row.name for row in again.rows] == [row.name for row in report.rows]


TWO_STAGES = RECIPE[: RECIPE.index('[[stage]]\nname = "smaller"')]


def test_a_result_that_lies_there_outlives_a_run_that_was_given_up(setting: Setting) -> None:
    report = setting.run(TWO_STAGES)
    for fails_at in ("teacher", "student"):
        setting.fails_at = fails_at
        with pytest.raises(KeyboardInterrupt):
            setting.run(
                TWO_STAGES.replace("epochs = 2", "epochs = 1").replace(
                    "epochs = 6", "epochs = 6\npatience = 9"
                )
            )
        setting.fails_at = ""
        if fails_at == "teacher":
            again = setting.run(TWO_STAGES)
            assert setting.ran == []
            assert [row.score for row in again.rows] == [row.score for row in report.rows]
    setting.run(TWO_STAGES)
    assert setting.ran == ["teacher"]  # which the second run had made anew


def test_a_result_that_was_replaced_and_not_noted_is_not_taken_for_the_one_before(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Ledger, name: str, entry: Any) -> None:
        if "key" in entry:
            raise KeyboardInterrupt
        noting(self, name, entry)

    noting = Ledger.note
    setting.run(TWO_STAGES)
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "note", killed)
        with pytest.raises(KeyboardInterrupt):
            setting.run(TWO_STAGES.replace("epochs = 6", "epochs = 5"))
    setting.run(TWO_STAGES)
    assert setting.ran == ["teacher"]


def test_a_quantized_stage_is_compiled_as_it_is(setting: Setting) -> None:
    text = RECIPE.replace('kind = "compile"\nmodel = "smaller"', 'kind = "compile"\nmodel = "int8"')
    rows = setting.run(text).rows
    assert rows[-1].name == "fast"
    assert "INT8 before" in " ".join(saved_notes(setting.folder / "out" / "fast"))


def test_the_report_says_what_each_stage_cost_and_gave(setting: Setting) -> None:
    report = setting.run()
    teacher, student, smaller, _int8, fast = report.rows
    assert teacher.score > 90
    assert (teacher.drop, teacher.speedup.median) == (0.0, 1.0)
    assert student.drop == teacher.score - student.score
    assert student.megabytes < teacher.megabytes
    assert [row.changed is None for row in report.rows] == [True, True, True, False, False]
    assert fast.changed is not None
    assert 0 <= fast.changed <= 0.2
    assert fast.speedup.median > 1.5
    assert 100 * smaller.metrics["accuracy"] == smaller.score
    out = setting.folder / "out"
    saved = json.loads((out / "report.json").read_text())
    assert saved == json.loads(json.dumps(report.to_dict()))
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert ff.evaluate(out / "fast", setting.data)["score"] == fast.score
    assert ff.load_pretrained_torch(out / "int8") is not None
    text = str(report)
    assert all(name in text for name in STAGES)
    assert max(map(len, text.splitlines())) <= 120


def test_a_large_ledger_is_read_again(tmp_path: Path) -> None:
    answers = [0] * 600_000  # more than 4 MiB of JSON, as a few stages have on 50,000 validation examples
    Ledger(tmp_path).note("stage", {"key": "k", "answers": answers})
    assert Ledger(tmp_path).entry("stage")["answers"] == answers


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ({"t": 3}, "t is not what a run notes"),
        ({"t": {"key": "k", "metrics": 3}}, r"t\.metrics is not"),
        ({"t": {"before": 3}}, r"t\.before is not"),
    ],
)
def test_a_damaged_ledger_is_told_in_words(tmp_path: Path, content: dict[str, Any], wrong: str) -> None:
    (tmp_path / "stages.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FormatError, match=rf"stages\.json is damaged: {wrong}.*move the folder away"):
        Ledger(tmp_path)


def test_what_a_killed_attempt_spent_until_its_last_checkpoint_is_added_up(tmp_path: Path) -> None:
    ledger, work = Ledger(tmp_path), tmp_path / "stage.work"
    ledger.begin("stage", "key", work)
    assert (ledger.begun("stage"), ledger.spent("stage")) == ("key", 0.0)
    work.mkdir()
    (work / "checkpoint").touch()
    for seconds in (100.0, 30.0):
        started = ledger.entry("stage")["started"]
        for path in (work, work / "checkpoint"):
            os.utime(path, (started + seconds, started + seconds))
        ledger.begin("stage", "key", work)
    assert ledger.spent("stage") == pytest.approx(130.0, abs=0.01)
    ledger.begin("stage", "another", work)
    assert ledger.spent("stage") == 0.0


def test_the_seconds_of_a_stage_count_what_was_spent_before_a_kill(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "spent", lambda self, name: 1000.0)
    report = setting.run(TWO_STAGES)
    assert all(1000 < row.seconds < 2000 for row in report.rows)


def test_two_runs_do_not_share_an_output_folder(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    (setting.folder / "out").mkdir()
    with (
        only_run(setting.folder / "out"),
        pytest.raises(ConfigError, match=r"another run is using .*out: wait"),
    ):
        setting.run(TWO_STAGES)
    assert setting.ran == []
    with only_run(setting.folder / "out"):  # the first one has ended
        pass

    def without_locks(*_: Any) -> None:
        raise OSError("not supported")

    monkeypatch.setattr("fcntl.flock", without_locks)
    with only_run(setting.folder / "out"):
        pass


def test_another_folder_in_the_way_is_left_alone(setting: Setting) -> None:
    (setting.folder / "out" / "teacher").mkdir(parents=True)
    (setting.folder / "out" / "teacher" / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="was not made by this recipe"):
        setting.run()
    assert (setting.folder / "out" / "teacher" / "letter.txt").read_text() == "mine"
    (setting.folder / "out" / "teacher").rename(setting.folder / "out" / "fast")
    with pytest.raises(ConfigError, match="fast exists and was not made by this recipe"):
        setting.run()
    assert setting.ran == []  # told before the first stage takes its hours


def test_unlabelled_texts_are_found_beside_the_recipe_and_a_change_of_them_runs_the_stage_again(
    setting: Setting,
) -> None:
    text = RECIPE[: RECIPE.index('[[stage]]\nname = "smaller"')] + 'unlabelled = "more.txt"\n'
    more = setting.folder / "more.txt"
    with pytest.raises(FormatError, match=r"more\.txt"):
        setting.run(text)
    more.write_text("good bad\nbad\n", encoding="utf-8")
    setting.run(text)
    told = json.loads(
        (setting.folder / "out" / "student" / "distill_report.json").read_text(encoding="utf-8")
    )
    assert told["unlabelled"] == 2
    setting.run(text)
    assert setting.ran == []
    more.write_text("good bad\nbad\ngood\n", encoding="utf-8")
    setting.run(text)
    assert setting.ran == ["student"]


def test_changed_data_runs_everything_again(setting: Setting, tmp_path: Path) -> None:
    setting.run()
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.jsonl", "val.jsonl"):
        (data / name).write_bytes((setting.data / name).read_bytes())
    setting.data = data
    setting.run()
    assert setting.ran == []
    with (data / "train.jsonl").open("a") as file:
        file.write('{"text": "the dog good", "label": "good"}\n')
    setting.run()
    assert setting.ran == STAGES


def test_other_names_of_the_labels_run_everything_again(setting: Setting, tmp_path: Path) -> None:
    path = setting.folder / "r.toml"
    path.write_text(RECIPE, encoding="utf-8")
    keys = []
    for data, names in (("data", ("bad", "good")), ("renamed", ("fault", "praise"))):
        (tmp_path / data).mkdir()
        for split in ("train.jsonl", "val.jsonl"):
            rows = map(json.loads, (setting.data / split).read_text(encoding="utf-8").splitlines())
            named = [{**row, "label": names[row["label"] == "good"]} for row in rows]
            (tmp_path / data / split).write_text("\n".join(map(json.dumps, named)), encoding="utf-8")
        plan = make_plan(path, tmp_path / "out", data=tmp_path / data, models={"base": setting.base})
        keys.append([planned.key for planned in plan.stages])
    assert not {*keys[0]} & {*keys[1]}


def test_a_quantized_stage_whose_layers_are_chosen_by_time_is_of_its_processor(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, last = setting.folder / "r.toml", RECIPE.index('[[stage]]\nname = "fast"')
    path.write_text(RECIPE[:last] + RECIPE[last:].replace("compile", "quantize"), encoding="utf-8")
    keys = []
    for isa in ("reference", "avx2"):
        monkeypatch.setattr("fastformers.kernels.active_isa", lambda isa=isa: isa)
        plan = make_plan(path, setting.folder / "out", data=setting.data, models={"base": setting.base})
        keys.append({planned.stage.name: planned.key for planned in plan.stages})
    same = [name for name in keys[0] if keys[0][name] == keys[1][name]]
    assert same == STAGES[:4]  # "int8" has never_slower = false


def write_wic(folder: Path) -> Path:
    """WiC in its official form: of 8 and 6 examples two each have their span behind 14 words."""
    (folder / "WiC").mkdir(parents=True)
    for split, rows in (("train", 8), ("val", 6)):
        lines = []
        for index in range(rows):
            first = f"{'the ' * (14 if index < 2 else 2)}bank money"
            start = first.index("bank")
            spans = {"start1": start, "end1": start + 4, "start2": 4, "end2": 8, "word": "bank"}
            texts = {"sentence1": first, "sentence2": "the bank sat"}
            lines.append(
                json.dumps({**texts, **spans, "idx": index, "label": index % 2 == 0, "version": 1.1})
            )
        (folder / "WiC" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_examples_that_lose_a_span_are_counted_neither_as_learned_nor_as_scored(
    setting: Setting, tmp_path: Path
) -> None:
    setting.data = write_wic(tmp_path / "superglue")
    text = RECIPE[: RECIPE.index('[[stage]]\nname = "student"')]
    text = text.replace("max_length = 24", 'task = "wic"\nmax_length = 16').replace(
        "epochs = 6", "epochs = 1"
    )
    report = setting.run(text)
    assert [row.scored for row in report.rows] == [4]
    assert report.examples == (8, 6)
    told = str(report)
    assert (
        "note: teacher: 2 of 6 validation examples lost a marked span to the cut and are not scored" in told
    )
    assert (
        "note: teacher: 2 of 8 training examples lost a marked span to the cut and are not learned from"
        in told
    )


def test_models_that_lose_the_spans_of_different_texts_are_timed_on_those_that_all_keep(
    setting: Setting, tmp_path: Path
) -> None:
    """The student spells words that the teacher knows, and loses those of long texts to the cut."""
    letters = "abdefhkmnosty"
    spelling = save_checkpoint(
        tmp_path / "spelling", word_pieces(["the", *letters, *(f"##{letter}" for letter in letters)])
    )
    text = search_recipe(max_length=24, depth=[1]).replace("[models]", 'task = "wic"\n[models]\nsmall = ""')
    student = '[[stage]]\nname = "student"\nkind = "distill"\nteacher = "teacher"\nstudent = "small"\n'
    text = text.replace('student = "base"', 'student = "small"')
    (tmp_path / "w.toml").write_text(
        text.replace("[search]", f"{student}max_steps = 1\n[search]"), encoding="utf-8"
    )
    given: dict[str, Any] = {
        "data": write_wic(tmp_path / "superglue"),
        "models": {"base": setting.base, "small": spelling},
        "progress": False,
    }
    report = ff.recipe(tmp_path / "w.toml", tmp_path / "out", **given)
    assert [row.scored for row in report.rows] == [6, 4]
    found = ff.search(tmp_path / "w.toml", tmp_path / "out", max_drop=100.0, **given)
    assert [point.candidate.depth for point in found.points] == [1]


def test_a_plan_is_made_without_writing_anything(setting: Setting) -> None:
    path = setting.folder / "r.toml"
    path.write_text(RECIPE)
    plan = make_plan(path, setting.folder / "out", data=setting.data, models={"base": setting.base})
    text = str(describe_plan(plan))
    assert not (setting.folder / "out").exists()
    assert all(name in text for name in STAGES)
    assert "96 training and 40 validation examples" in text
    assert "about" in text
    assert "cached" not in text
    setting.run()
    after = describe_plan(
        make_plan(path, setting.folder / "out", data=setting.data, models={"base": setting.base})
    )
    assert str(after).count("cached") == len(STAGES)
    assert after.seconds == 0


def test_layers_that_are_not_there_are_told_before_anything_runs(setting: Setting) -> None:
    with pytest.raises(ConfigError, match=r"stage 'student': layers is \[1, 9\].* has layers 0 to 3"):
        setting.run(RECIPE.replace("layers = [1, 3]", "layers = [1, 9]"))
    of_two = RECIPE.replace("heads = 0.5", "layers = [0, 2]")
    with pytest.raises(ConfigError, match=r"stage 'smaller': layers is \[0, 2\].* has layers 0 to 1"):
        setting.run(of_two)
    assert setting.ran == []


def test_the_baseline_is_padded_to_what_the_model_has_positions_for_and_no_less_than_a_text_has(
    tiny_checkpoint: Path,
) -> None:
    model = open_model(tiny_checkpoint).model
    assert [recipe_run._padded_length(model, wanted, 9) for wanted in (5, 24, 256)] == [9, 24, 32]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("heads = 0.5", "heads = 9", "stage 'smaller': heads is 9, and a layer .* has 4 heads"),
        ("ffn = 0.5", "ffn = 200", "stage 'smaller': ffn is 200, and a layer .* has 128 neurons"),
        ("layers = [1, 3]", "heads = 9", "stage 'student': heads is 9, and a layer .* has 4 heads"),
        ("layers = [1, 3]", 'activation = "rleu"', "stage 'student': activation is 'rleu'"),
        (
            "layers = [1, 3]",
            "",
            "stage 'student': the student is its own teacher: give layers, heads, .* activation",
        ),
        ("heads = 0.5\nffn = 0.5", "", "stage 'smaller': nothing is to be pruned"),
        ("layers = [1, 3]", "hidden = 33", "stage 'student': hidden is 33, must be a multiple of 16"),
        ("layers = [1, 3]", "hidden = 80", "stage 'student': hidden is 80, and the model .* is 64 wide"),
        (
            'kind = "compile"\nmodel = "smaller"',
            'kind = "compile"\nmodel = "int8"\nfloat32 = true',
            "stage 'fast': model is 'int8', whose layers are INT8: float32 = true does not bring them back",
        ),
        (
            'kind = "compile"\nmodel = "smaller"',
            'kind = "compile"\nmodel = "int8"\nrounding = "compensated"',
            "stage 'fast': model is 'int8', .* stay as they are: rounding would change nothing",
        ),
        (
            'kind = "compile"\nmodel = "smaller"',
            'kind = "prune"\nmodel = "int8"\nheads = 1',
            "stage 'fast': model is 'int8', whose layers are INT8 and cannot be pruned",
        ),
        (
            'kind = "compile"\nmodel = "smaller"',
            'kind = "train"\nmodel = "int8"',
            "stage 'fast': model is 'int8', whose layers are INT8 and cannot be trained",
        ),
        (
            'kind = "quantize"\nmodel = "smaller"\nnever_slower = false',
            'kind = "compile"\nmodel = "smaller"\n[[stage]]\nname = "x"\nkind = "compile"\nmodel = "int8"',
            "stage 'x': model is 'int8', which is compiled and cannot be compiled",
        ),
    ],
)
def test_what_a_stage_cannot_do_is_told_before_anything_runs(
    setting: Setting, before: str, after: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        setting.run(RECIPE.replace(before, after))
    assert setting.ran == []


GIVEN = """
[recipe]
{recipe}
[models]
base = ""
[[stage]]
name = "cut"
kind = "distill"
teacher = "base"
student = "base"
layers = [1, 3]
max_steps = 1
"""


@pytest.fixture(scope="module")
def of_24_tokens(tiny_checkpoint: Path, own_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for the data of these tests whose texts are cut after 24 tokens."""
    folder = tmp_path_factory.mktemp("given") / "model"
    config = ff.TrainConfig(max_steps=1)
    ff.train(tiny_checkpoint, own_data, folder, max_length=24, config=config, progress=False)
    return folder


def write_task(folder: Path, copy: Path, **changes: Any) -> Path:
    """A copy of a model's folder with another ``task.json``."""
    shutil.copytree(folder, copy)
    content = json.loads((copy / "task.json").read_text(encoding="utf-8"))
    (copy / "task.json").write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return copy


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"task": "boolq", "labels": list(get_task("boolq").labels)}, r"boolq \(True, False\)"),
        ({"labels": ["bad", "good", "so"]}, r"custom \(bad, good, so\)"),
        ({"labels": ["bad", "best"]}, r"custom \(bad, best\)"),
    ],
)
def test_a_given_model_answers_the_recipes_task_or_nothing_runs(
    setting: Setting, of_24_tokens: Path, changes: dict[str, Any], found: str
) -> None:
    setting.base = write_task(of_24_tokens, setting.folder / "other", **changes)
    expected = (
        rf"stage 'cut': teacher 'base' in .*other is a model for {found}, .* is for custom \(bad, good\)"
    )
    with pytest.raises(ConfigError, match=expected):
        setting.run(GIVEN.format(recipe=""))
    for kind in ("prune", "quantize", "compile"):
        stage = f'[models]\nbase = ""\n[[stage]]\nname = "s"\nkind = "{kind}"\nmodel = "base"\n'
        with pytest.raises(ConfigError, match=f"stage 's': model 'base' in .* is a model for {found}"):
            setting.run(stage + ("heads = 0.5\n" if kind == "prune" else ""))
    assert setting.ran == []


def test_a_given_model_with_the_same_labels_in_another_order_is_taken(
    setting: Setting, of_24_tokens: Path
) -> None:
    setting.base = write_task(of_24_tokens, setting.folder / "other", labels=["good", "bad"])
    path = setting.folder / "r.toml"
    path.write_text(GIVEN.format(recipe=""), encoding="utf-8")
    make_plan(path, setting.folder / "out", data=setting.data, models={"base": setting.base})


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            "max_length = 5",
            "cuts texts after 24 tokens, and .recipe. max_length is 5: write max_length = 24, or",
        ),
        ("max_length = 30", "cuts texts after 24 tokens, and .recipe. max_length is 30"),
        (
            'truncation = "longest_first"',
            "cuts texts by 'keep_question', and .* truncation is 'longest_first'",
        ),
    ],
)
def test_a_length_that_a_given_model_contradicts_is_refused(
    setting: Setting, of_24_tokens: Path, named: str, message: str
) -> None:
    setting.base = of_24_tokens
    with pytest.raises(ConfigError, match=f"stage 'cut': teacher 'base' in .* {message}"):
        setting.run(GIVEN.format(recipe=named))
    assert setting.ran == []


def test_a_model_with_fewer_positions_than_the_recipes_length_is_taken(
    setting: Setting, of_24_tokens: Path
) -> None:
    setting.base = write_task(of_24_tokens, setting.folder / "other", max_length=32)
    path = setting.folder / "r.toml"
    path.write_text(GIVEN.format(recipe="max_length = 256"), encoding="utf-8")
    make_plan(path, setting.folder / "out", data=setting.data, models={"base": setting.base})


def test_a_given_model_keeps_its_length_where_the_recipe_names_none(
    setting: Setting, of_24_tokens: Path
) -> None:
    setting.base = of_24_tokens
    report = setting.run(GIVEN.format(recipe=""))
    task = json.loads((setting.folder / "out" / "cut" / "task.json").read_text(encoding="utf-8"))
    assert (task["max_length"], report.rows[0].scored) == (24, 40)


def test_a_given_teacher_that_says_no_length_takes_the_one_that_the_recipe_names(
    setting: Setting, of_24_tokens: Path
) -> None:
    setting.base = write_task(of_24_tokens, setting.folder / "other")
    for name in ("task.json", "fastformers.json"):
        (setting.base / name).unlink()
    config = json.loads((setting.base / "config.json").read_text(encoding="utf-8"))
    names = {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    (setting.base / "config.json").write_text(json.dumps({**config, **names}), encoding="utf-8")
    setting.run(GIVEN.format(recipe="max_length = 12"))
    task = json.loads((setting.folder / "out" / "cut" / "task.json").read_text(encoding="utf-8"))
    assert task["max_length"] == 12


def test_units_are_counted_from_stage_to_stage(setting: Setting) -> None:
    again = '[[stage]]\nname = "again"\nkind = "prune"\nmodel = "smaller"\nheads = 4\n'
    with pytest.raises(ConfigError, match=r"stage 'again': heads is 4, and a layer .* has 2 heads"):
        setting.run(RECIPE.replace("heads = 0.5", "heads = 2") + again)
    assert setting.ran == []


def test_predicted_numbers_are_not_counted_as_changed_answers(setting: Setting, tmp_path: Path) -> None:
    setting.data = tmp_path / "numbers"
    setting.data.mkdir()
    rows = [{"text": f"the cat sat {'on ' * (place % 5)}", "label": place % 5} for place in range(10)]
    for split in ("train", "val"):
        (setting.data / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    stages = RECIPE.replace("[recipe]", "[recipe]\nregression = true").split("[[stage]]")
    int8 = stages[4].replace('"smaller"', '"teacher"')
    report = setting.run("[[stage]]".join((*stages[:2], int8)))
    assert [row.changed for row in report.rows] == [None, None]


def test_a_label_that_no_score_is_of_is_noted_once(setting: Setting, tmp_path: Path) -> None:
    setting.data = tmp_path / "odd"
    setting.data.mkdir()
    rows = [{"text": "the cat sat on", "label": ("good", "bad")[place % 2]} for place in range(10)]
    for split, some in (("train", rows), ("val", rows[::2])):
        (setting.data / f"{split}.jsonl").write_text("\n".join(map(json.dumps, some)), encoding="utf-8")
    report = setting.run("[[stage]]".join(RECIPE.split("[[stage]]")[:3]))
    (note,) = report.notes
    assert note == "no validation example has the label 'bad': no score tells how well that is learned"


def test_a_diagnostic_has_no_recipe_of_its_own(setting: Setting) -> None:
    path = setting.folder / "r.toml"
    path.write_text(RECIPE.replace("[recipe]", '[recipe]\ntask = "axb"'))
    with pytest.raises(ConfigError, match="make a recipe for rte"):
        make_plan(path, setting.folder / "out", data=setting.data, models={"base": setting.base})


def test_sizes_are_read_off_a_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    size = size_of_folder(tiny_checkpoint)
    assert (size.layers, size.hidden, size.intermediate) == (4, 64, 128)
    assert size.macs == 4 * 64 * (4 * 64 + 2 * 128)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="num_hidden_layers"):
        size_of_folder(tmp_path)


def test_an_estimate_counts_evaluations_padding_and_a_teachers_answers_once(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_matmul_rate", lambda: 1 / estimate._EFFICIENCY)
    text = RECIPE[: RECIPE.index('[[stage]]\nname = "smaller"')]
    student = text[text.index('[[stage]]\nname = "student"') :]

    def seconds(stages: str) -> dict[str, float]:
        (setting.folder / "r.toml").write_text(stages, encoding="utf-8")
        plan = make_plan(
            setting.folder / "r.toml",
            setting.folder / "out",
            data=setting.data,
            models={"base": setting.base},
        )
        return {name: each.seconds for name, each in estimate.estimate_plan(plan).items()}

    found = seconds(text + student.replace('"student"', '"another"', 1))
    plan = make_plan(
        setting.folder / "r.toml", setting.folder / "out", data=setting.data, models={"base": setting.base}
    )
    macs = size_of_folder(setting.base).macs
    train, val = (estimate._tokens(examples, 24) for examples in (plan.train, plan.val))
    assert found["student"] - found["another"] == pytest.approx(macs * train)
    oftener = seconds(text.replace("epochs = 2", "epochs = 2\nevaluate_every = 1"))
    steps = plan_of(plan.stages[1].stage.options.config.train, len(plan.train))
    assert oftener["student"] - found["student"] == pytest.approx(macs / 2 * val * (steps.steps - 2))
    padded = seconds(text.replace("epochs = 2", "epochs = 2\nfixed_length = 24"))
    more_train, more_val = 24 * len(plan.train) - train, 24 * len(plan.val) - val
    learned = macs / 2 * (3 * 2 * more_train + 2 * more_val)
    assert padded["student"] - found["student"] == pytest.approx(learned + macs * more_train)


class Slow:
    """Takes a while for each token."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        import time

        time.sleep(self.seconds * input_ids.shape[1])


def test_times_are_of_texts_that_are_not_padded_and_threads_are_put_back() -> None:
    from fastformers.tasks import EncodedExamples, Example
    from fastformers.tasks.custom import task_with_labels

    class Tokenizer:
        pad_token_id = 0
        pad_token_type_id = 0

    lengths = [2, 4, 6, 8] * 5
    encoded = EncodedExamples(
        task_with_labels(("a", "b")),
        [Example(str(index), "x") for index in range(len(lengths))],
        [{"input_ids": [1] * length} for length in lengths],
        Tokenizer(),
        8,
    )
    threads = torch.get_num_threads(), ff.kernels.num_threads()
    models = {"a": Timed(Slow(4e-3), encoded), "padded": Timed(Slow(4e-3), encoded, fixed_length=20)}
    found = time_models(models, lengths, seconds=1.0)
    assert (torch.get_num_threads(), ff.kernels.num_threads()) == threads
    assert found["a"][1].median == 1.0
    # Both sleep for their time, and a busy machine wakes them late: 2 ms when measured with a sleep of 1 ms, so they
    # sleep for 20 on average. A wrong unit or direction is a factor of 4.
    assert found["a"][0].median == pytest.approx(20.0, rel=0.5)
    assert found["padded"][1].median == pytest.approx(0.25, rel=0.4)


def search(setting: Setting, table: str = SEARCH, **budgets: Any) -> Any:
    path = setting.folder / "s.toml"
    path.write_text(RECIPE + table, encoding="utf-8")
    models = {"base": setting.base}
    return ff.search(
        path, setting.folder / "out", data=setting.data, models=models, progress=False, **budgets
    )


@pytest.mark.slow
def test_a_search_returns_the_frontier_and_the_fastest_within_the_budget(setting: Setting) -> None:
    report = search(setting, max_drop=100.0)
    assert 2 <= len(report.points) <= 3
    assert report.chosen == report.points[0].candidate.name
    frontier = [point for point in report.points if point.on_frontier]
    assert frontier[0] == report.points[0]
    scores = [point.score for point in frontier]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)
    saved = json.loads((setting.folder / "out" / "search.json").read_text())
    assert saved == json.loads(json.dumps(report.to_dict()))
    for point in report.points:
        whole = max(report.points, key=lambda each: each.candidate.ffn)
        assert point.ffn == pytest.approx(whole.ffn / whole.candidate.ffn * point.candidate.ffn, abs=1)
        assert point.milliseconds > 0
        assert point.heads >= 1
    assert setting.ran.count("teacher") == 1
    assert setting.ran.count("1-layers") == 1
    assert "<- chosen" in str(report)
    folder = Path(report.points[0].folder)
    assert ff.evaluate(folder, setting.data)["score"] == report.points[0].score


@pytest.mark.slow
def test_a_search_trains_no_more_students_than_it_may(setting: Setting) -> None:
    report = search(setting, SEARCH.replace("trials = 3", "trials = 1"), max_drop=100.0)
    assert len(report.points) == 1


@pytest.mark.slow
def test_a_speed_out_of_reach_is_told_before_anything_is_trained(setting: Setting) -> None:
    with pytest.raises(
        GateError, match="target_speedup 1e\\+06 cannot be met: the fastest student of the space"
    ):
        search(setting, target_speedup=1e6)
    assert setting.ran == []
    saved = json.loads((setting.folder / "out" / "search.json").read_text())
    assert (saved["chosen"], saved["teacher_score"], saved["points"]) == ("", None, [])


@pytest.mark.slow
def test_an_accuracy_out_of_reach_is_told_with_the_best_there_is(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe_search._Search, "_propose", lambda *_: None)
    hardly_trained = SEARCH.replace("epochs = 2", "max_steps = 1")
    with pytest.raises(GateError, match=r"max_drop 0 cannot be met.*loses"):
        search(setting, hardly_trained, max_drop=0.0)


@pytest.mark.parametrize("option", ["hidden = 16", "layers = [0]"])
def test_shapes_that_a_search_does_not_time_are_refused(setting: Setting, option: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[search\] has {option.split()[0]}: .* differ in depth, heads"):
        search(setting, f"{SEARCH}{option}\n", max_drop=1.0)
    with pytest.raises(ConfigError, match="student goes back to stage 'student', which changes the shape"):
        search(setting, SEARCH.replace('student = "base"', 'student = "student"'), max_drop=1.0)


def test_a_search_times_the_activation_that_is_trained(setting: Setting) -> None:
    path = setting.folder / "s.toml"
    text = TWO_STAGES.replace("epochs = 6", 'epochs = 6\nactivation = "relu"') + SEARCH
    for more, expected in (("", ("relu", "gelu")), ('activation = "relu"\n', ("relu", "relu"))):
        path.write_text(text + more, encoding="utf-8")
        plan = recipe_run.make_plan(
            path, setting.folder / "out", data=setting.data, models={"base": setting.base}
        )
        found = recipe_search._Search(plan, SearchSpace.of(plan.recipe), 4, setting.folder, 1.0, None, False)
        assert (found._teacher.model.config.hidden_act, found._student.model.config.hidden_act) == expected


def test_a_search_without_a_budget_is_refused(setting: Setting) -> None:
    with pytest.raises(ConfigError, match="needs a budget"):
        search(setting)


@pytest.mark.parametrize(
    "budget",
    [
        {"max_drop": -1.0},
        {"max_drop": float("nan")},
        {"target_speedup": 0.0},
        {"target_speedup": float("inf")},
    ],
)
def test_budgets_out_of_range_are_refused_before_anything_is_read(
    setting: Setting, budget: dict[str, float]
) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(budget))} is .*; allowed"):
        search(setting, **budget)


def test_a_budget_that_is_met_exactly_is_met_whatever_floats_make_of_it() -> None:
    teacher, student = 100 * 0.59, 100 * 0.58
    assert teacher - student > 1.0
    found = object.__new__(recipe_search._Search)
    candidate = recipe_search.Candidate(2, 1.0, 1.0, True)
    point = recipe_search.SearchPoint(
        candidate, student, teacher - student, Spread(2.0, 2.0, 2.0, 3), "folder", 1.0, 4, 64
    )
    found._points, found._timings, found._failed = {candidate: point}, {}, {}
    found._max_drop, found._target, found._teacher_score = 1.0, None, teacher
    found._plan = SimpleNamespace(task=SimpleNamespace(name="copa", main_metric="accuracy"))  # type: ignore[assignment]
    assert found._report().chosen == candidate.name


@pytest.mark.parametrize("seed", range(4))
def test_a_search_gives_up_only_when_every_student_that_is_fast_enough_was_tried(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Most proposals of a narrow budget are known already, and the shipped spaces are wide."""
    found = object.__new__(recipe_search._Search)
    found._space = SearchSpace(
        "t", "s", (6, 4, 3, 2), (1.0, 0.75, 0.5), (1.0, 0.75, 0.5, 0.25), (True, False), 12, {}
    )
    found._timings, found._points, found._failed = {}, {}, {}
    found._max_drop, found._target, found._teacher_score, found._progress = 1.0, 9.0, 90.0, False
    found._plan = SimpleNamespace(  # type: ignore[assignment]
        recipe=SimpleNamespace(seed=seed), task=SimpleNamespace(name="copa", main_metric="accuracy")
    )

    def speed(candidate: Any) -> float:
        return 30 / (candidate.work + 1) * (1.5 if candidate.int8 else 1.0)

    def timed(candidate: Any) -> Spread:
        times = speed(candidate)
        spread = Spread(times, times, times, 3)
        found._timings[candidate] = recipe_search.Timing(1.0, spread, 4, 64)
        return spread

    def trained(candidate: Any, teacher: float) -> Any:
        timing = found._timings[candidate]
        return recipe_search.SearchPoint(candidate, 80.0, teacher - 80.0, timing.speedup, "", 1.0, 4, 64)

    monkeypatch.setattr(found, "_speed", timed, raising=False)
    monkeypatch.setattr(found, "_train", trained, raising=False)
    report = found.run()
    fast = {each for each in found._space.candidates() if speed(each) >= 9.0}
    assert {point.candidate for point in report.points} == fast
    assert 2 < len(fast) < 12
    assert len(report.too_slow) < 70  # one that is larger than a slow one is not timed


def plan_of_search(setting: Setting, text: str) -> Plan:
    path = setting.folder / "s.toml"
    path.write_text(text, encoding="utf-8")
    return make_plan(path, setting.folder / "out", data=setting.data, models={"base": setting.base})


def test_a_search_that_was_moved_with_its_texts_is_not_run_again(setting: Setting, tmp_path: Path) -> None:
    keys = []
    for place in ("here", "there"):
        setting.folder = tmp_path / place
        setting.folder.mkdir()
        (setting.folder / "more.txt").write_text("good bad\nbad\n", encoding="utf-8")
        plan = plan_of_search(setting, RECIPE + SEARCH + 'unlabelled = "more.txt"\n')
        space = SearchSpace.of(plan.recipe)
        student = plan_recipe(space.recipe_for(plan.recipe, next(space.candidates()), 4), setting.folder)
        keys.append([planned.key for planned in student.stages])
    assert keys[0] == keys[1]


def test_a_search_says_what_it_would_do(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_matmul_rate", lambda: 1e9)
    plan = plan_of_search(setting, RECIPE + SEARCH)
    text = str(describe_search(plan))
    assert "the longest of 4 students; at most 3 are timed, each in about 21 s" in text
    assert "at most 3 are trained, each in about" in text
    assert "4-layers-h100-f50-weights" in text  # trained twice
    found = describe_search(plan, target_speedup=2.0)
    assert (found.students, found.timed, found.trained) == (4, 4, 3)
    space = SearchSpace.of(plan.recipe)
    for candidate in space.candidates():
        each = plan_recipe(space.recipe_for(plan.recipe, candidate, 4), setting.folder / "out")
        estimates = estimate.estimate_plan(each)
        own = sum(estimates[name].seconds for name in candidate.stage_names)
        assert own <= found.seconds_to_train * 1.001
    shared = sum(stage.seconds for stage in found.longest.stages if stage.name in ("teacher",))
    assert found.seconds == pytest.approx(4 * 21 + 3 * found.seconds_to_train + shared)
    assert not (setting.folder / "out").exists()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("depth = [4, 1]", "depth = [9, 1]", "depth has 9, and 'base', .* has 4 layers"),
        (
            'student = "base"',
            'student = "teacher"',
            "depth has 4, all layers of 'teacher'.*be its own teacher",
        ),
    ],
)
def test_students_that_cannot_be_made_are_refused_before_anything_is_timed(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, before: str, after: str, message: str
) -> None:
    monkeypatch.setattr(recipe_search, "_Search", None)
    table = SEARCH.replace(before, after)
    with pytest.raises(ConfigError, match=rf"\[search\] {message}"):
        describe_search(plan_of_search(setting, RECIPE + table))
    with pytest.raises(ConfigError, match=rf"\[search\] {message}"):
        search(setting, table, max_drop=1.0)


QUICK = search_recipe(max_length=24, depth=[2, 1])


def quick_search(setting: Setting, **budgets: Any) -> Any:
    path = setting.folder / "q.toml"
    path.write_text(QUICK, encoding="utf-8")
    given: dict[str, Any] = {"data": setting.data, "models": {"base": setting.base}}
    return ff.search(path, setting.folder / "out", **given, **budgets)


def test_a_student_that_cannot_be_trained_is_left_out_and_the_search_goes_on(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverging(options: Any, context: Any) -> Any:
        if context.output.name in diverge:
            raise NonFiniteError("the loss is nan")
        return distil.run(options, context)

    distil, diverge = KINDS["distill"], {"2-layers"}
    monkeypatch.setitem(KINDS, "distill", replace(distil, run=diverging))
    report = quick_search(setting, max_drop=100.0)
    assert report.failed == {"2-layers-int8": "the loss is nan"}
    assert [point.candidate.name for point in report.points] == ["1-layers-int8"]
    assert report.chosen == "1-layers-int8"
    assert "note: 2-layers-int8 could not be trained: the loss is nan" in str(report)
    assert "student 2-layers-int8 is left out: the loss is nan" in capsys.readouterr().out
    diverge.add("1-layers")
    shutil.rmtree(setting.folder / "out" / "1-layers")
    with pytest.raises(
        GateError, match=r"none of the 2 students .* could be trained; 1-layers-int8: the loss is nan"
    ):
        quick_search(setting, max_drop=100.0)
    monkeypatch.setitem(KINDS, "train", replace(KINDS["train"], run=lambda *_: diverging(None, context)))
    context = SimpleNamespace(output=Path("2-layers"))
    shutil.rmtree(setting.folder / "out" / "teacher")
    with pytest.raises(NonFiniteError):  # the teacher's failure is that of all
        quick_search(setting, max_drop=100.0)


def test_a_search_that_is_run_again_goes_by_the_times_it_took(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = quick_search(setting, max_drop=100.0, progress=False)
    slowest = min(point.speedup.median for point in first.points)
    setting.ran.clear()
    with monkeypatch.context() as patched:
        patched.setattr(recipe_search, "time_models", None)
        again = quick_search(setting, max_drop=100.0, target_speedup=slowest, progress=False)
        assert (again.points, again.too_slow, again.chosen) == (first.points, {}, first.chosen)
        assert setting.ran == []
        patched.setattr("fastformers.kernels.active_isa", lambda: "another")
        with pytest.raises(TypeError):  # times of another processor are not this one's
            quick_search(setting, max_drop=100.0, progress=False)
    (setting.folder / "out" / "search_times.json").write_text("{", encoding="utf-8")
    assert {point.candidate for point in quick_search(setting, max_drop=100.0, progress=False).points} == {
        point.candidate for point in first.points
    }


def test_a_search_and_a_run_do_not_share_an_output_folder(setting: Setting) -> None:
    (setting.folder / "out").mkdir()
    with only_run(setting.folder / "out"), pytest.raises(ConfigError, match="another run is using"):
        quick_search(setting, max_drop=1.0)
