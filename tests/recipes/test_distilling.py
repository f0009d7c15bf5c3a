# SPDX-License-Identifier: MIT
"""Distillation from models and from folders: students learn, reports tell, and what does not fit writes nothing."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_threads
from tiny_models import SPECIAL, word_pieces
from torch import nn

import fastformers as ff
from fastformers.config import DistillConfig, TrainConfig
from fastformers.distillation import DistillReport, ModelSize, make_student
from fastformers.errors import ConfigError, FormatError, UnsupportedModelError
from fastformers.modules.encoder_names import parts_of
from fastformers.modules.layer_shapes import shapes_of
from fastformers.recipes import distilling
from fastformers.recipes.distilling_data import pair_data, read_unlabelled
from fastformers.recipes.model_folder import open_model, save_model
from fastformers.recipes.students import open_student
from fastformers.tasks import (
    Collator,
    EncodedExamples,
    TaskFile,
    custom_task,
    encode,
    evaluate,
    get_task,
    load_examples,
    predict_logits,
)

one_torch_thread = torch_threads.one_torch_thread

WORDS = "the cat sat on mat dog ran because so not good bad what who bank river money".split()
LABELS = ("animal", "place")
FAST = TrainConfig(epochs=6, learning_rate=2e-3, batch_size=8, device="cpu", warmup=0.0)


def rows(count: int, start: int) -> list[dict[str, str]]:
    """The label says whether the first word is one of the first eight."""
    found = []
    for index in range(start, start + count):
        words = [WORDS[(7 * index + 3 * place * place) % len(WORDS)] for place in range(2 + index % 4)]
        found.append({"text": " ".join(words), "label": LABELS[WORDS.index(words[0]) >= 8]})
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, count, start in (("train", 48, 0), ("val", 24, 100)):
        lines = [json.dumps(row) for row in rows(count, start)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def classifier(seed: int = 0, **sizes: Any) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    arguments = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(
        **{**arguments, **sizes},
        vocab_size=len(SPECIAL) + len(WORDS),
        max_position_embeddings=32,
        id2label=dict(enumerate(LABELS)),
        label2id={name: index for index, name in enumerate(LABELS)},
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(seed)
    return BertForSequenceClassification(config).eval()


def of(data: Path, split: str, tokenizer: Any) -> EncodedExamples:
    task = custom_task(data)
    return encode(load_examples(task, data, split), tokenizer, task, max_length=16)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return word_pieces(WORDS, lower_case=True)


@pytest.fixture(scope="module")
def other_tokenizer() -> Any:
    """Knows as many pieces, in another order, and cuts one word in two."""
    return word_pieces([*WORDS[:1:-1], "t", "##he"], lower_case=True)


@pytest.fixture(scope="module")
def trained(data: Path, tokenizer: Any) -> Any:
    """A classifier trained by hand until it answers by the first word."""
    model = classifier()
    encoded = of(data, "train", tokenizer)
    batch = Collator(tokenizer)(list(encoded))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    assert score(model, encoded) > 95
    return model


@pytest.fixture
def teacher(trained: Any) -> Any:
    return deepcopy(trained)


@pytest.fixture(scope="module")
def teacher_dir(trained: Any, data: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "teacher"
    save_model(trained, folder, tokenizer, TaskFile(custom_task(data), 16))
    return folder


@pytest.fixture(scope="module")
def checkpoint(other_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller random model as transformers saves it, with its own tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    classifier(5, hidden_size=16, num_attention_heads=2, num_hidden_layers=2).save_pretrained(folder)
    other_tokenizer.save_pretrained(folder)
    return folder


def score(model: nn.Module, encoded: EncodedExamples) -> float:
    return evaluate(encoded.task, encoded.examples, predict_logits(model, encoded, 32))["score"]


def distance(teacher: nn.Module, student: nn.Module, encoded: EncodedExamples) -> float:
    ours, theirs = (torch.from_numpy(predict_logits(model, encoded, 32)) for model in (student, teacher))
    return float((ours.softmax(-1) - theirs.softmax(-1)).abs().mean())


def test_a_student_comes_to_answer_like_its_teacher(teacher: Any, data: Path, tokenizer: Any) -> None:
    train, val = (of(data, split, tokenizer) for split in ("train", "val"))
    student = make_student(teacher, (0,))
    before = distance(teacher, student, val)
    report = ff.distill(teacher, student, train, eval=val, config=DistillConfig(train=FAST))
    assert distance(teacher, student, val) < 0.5 * before
    assert report.student_score == score(student, val)
    assert report.teacher_score == score(teacher, val)
    assert report.difference == score(student, val) - score(teacher, val)
    assert (report.teacher.layers, report.student.layers) == (3, 1)
    assert not student.training


def test_the_teacher_is_left_as_it_was(teacher: Any, data: Path, tokenizer: Any) -> None:
    before = deepcopy(teacher.state_dict())
    teacher.bert.train()
    modes = [module.training for module in teacher.modules()]
    config = DistillConfig(hidden_states=1.0, attention=1.0, train=FAST)
    ff.distill(teacher, make_student(teacher, (0, 2)), of(data, "train", tokenizer), config=config)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert [module.training for module in teacher.modules()] == modes
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_without_examples_to_evaluate_on_no_score_is_made_up(
    teacher: Any, data: Path, tokenizer: Any
) -> None:
    config = DistillConfig(train=replace(FAST, epochs=1.0))
    report = ff.distill(teacher, make_student(teacher, (0,)), of(data, "train", tokenizer), config=config)
    assert (report.teacher_score, report.student_score, report.difference) == (None, None, None)
    assert "-" in str(report)


def test_a_narrower_student_learns_what_is_inside_through_projections(
    teacher: Any, data: Path, tokenizer: Any
) -> None:
    train = of(data, "train", tokenizer)
    student = make_student(teacher, (0, 2), hidden=16, heads=2, intermediate=32)
    config = DistillConfig(embeddings=0.5, hidden_states=1.0, attention=1.0, train=FAST)
    before = distance(teacher, student, train)
    ff.distill(teacher, student, train, config=config)
    assert distance(teacher, student, train) < before
    assert not [name for name, _ in student.named_parameters() if "projection" in name]


def test_the_second_run_in_a_work_folder_takes_the_kept_logits(
    teacher: Any, data: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = of(data, "train", tokenizer)
    config = DistillConfig(train=replace(FAST, epochs=1.0))
    students = [make_student(teacher, (0,)) for _ in range(2)]
    ff.distill(teacher, students[0], train, config=config, work_dir=tmp_path / "work")
    (kept,) = (tmp_path / "work" / "teacher").iterdir()
    written = kept.stat().st_mtime_ns
    monkeypatch.setattr("fastformers.distillation.teacher_outputs.predict_logits", None)
    ff.distill(teacher, students[1], train, config=config, work_dir=tmp_path / "work")
    assert kept.stat().st_mtime_ns == written
    for one, other in zip(students[0].parameters(), students[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_interrupted_run_goes_on_to_the_same_bits_its_projections_included(
    teacher: Any, data: Path, tokenizer: Any, tmp_path: Path
) -> None:
    train, val = (of(data, split, tokenizer) for split in ("train", "val"))
    config = DistillConfig(hidden_states=1.0, attention=0.5, train=replace(FAST, epochs=3.0))

    def student() -> Any:
        return make_student(teacher, (0, 2), hidden=16)

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    whole, halved = student(), student()
    ff.distill(teacher, whole, train, eval=val, config=config)
    with pytest.raises(KeyboardInterrupt):
        ff.distill(
            teacher, halved, train, eval=val, config=config, work_dir=tmp_path / "work", progress=interrupt
        )
    again = student()
    report = ff.distill(teacher, again, train, eval=val, config=config, work_dir=tmp_path / "work")
    assert 0 < report.training["resumed_from"] < 9
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("change", ["temperature", "teacher"])
def test_a_work_folder_of_another_run_is_refused_and_what_differs_named(
    change: str, teacher: Any, data: Path, tokenizer: Any, tmp_path: Path
) -> None:
    train = of(data, "train", tokenizer)
    config = DistillConfig(train=replace(FAST, epochs=1.0))
    ff.distill(teacher, make_student(teacher, (0,)), train, config=config, work_dir=tmp_path / "work")
    student = make_student(teacher, (0,))
    if change == "teacher":
        teacher.classifier.bias.data += 0.1
    else:
        config = replace(config, temperature=2.0)
    before = deepcopy(student.state_dict())
    with pytest.raises(ConfigError, match=f"of another run: {change} differ"):
        ff.distill(teacher, student, train, config=config, work_dir=tmp_path / "work")
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def cut_shorter(data: Path, tokenizer: Any) -> EncodedExamples:
    whole = of(data, "train", tokenizer)
    return encode(whole.examples, tokenizer, whole.task, max_length=4)


def test_a_work_folder_of_a_teacher_that_read_other_tokens_is_refused(
    teacher: Any, data: Path, tokenizer: Any, tmp_path: Path
) -> None:
    train = of(data, "train", tokenizer)
    config = DistillConfig(train=replace(FAST, epochs=1.0))

    def run(theirs: EncodedExamples) -> None:
        student = make_student(teacher, (0,))
        ff.distill(teacher, student, train, config=config, teacher_train=theirs, work_dir=tmp_path / "work")

    run(train)
    run(of(data, "train", tokenizer))
    with pytest.raises(ConfigError, match="of another run: teacher_tokens differ"):
        run(cut_shorter(data, tokenizer))


def test_a_folder_of_something_else_is_neither_written_into_nor_removed(
    teacher_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastformers.distillation.teacher_outputs.predict_logits", None)  # never called
    work = tmp_path / "out.work"
    (work / "teacher").mkdir(parents=True)
    (work / "teacher" / "notes.txt").write_text("years of work")
    message = r"out\.work holds no distill\.json, so it is no work folder: choose another path"
    with pytest.raises(ConfigError, match=message):
        ff.distill_folders(teacher_dir, teacher_dir, data, tmp_path / "out", layers=(0,), progress=False)
    assert [path.name for path in work.rglob("*")] == ["teacher", "notes.txt"]
    assert not (tmp_path / "out").exists()


def test_what_a_run_left_that_was_killed_early_is_gone_on_with(
    teacher: Any, data: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, work = of(data, "train", tokenizer), tmp_path / "work"
    config = DistillConfig(train=replace(FAST, epochs=1.0))
    ff.distill(teacher, make_student(teacher, (0,)), train, config=config, work_dir=work)
    (kept,) = (work / "teacher").iterdir()
    (work / "distill.json").rename(work / f".distill.json-{'0a' * 6}")
    (work / "teacher" / f".{kept.name}-{'1b' * 6}").write_bytes(b"half")
    shutil.rmtree(work / "train")
    monkeypatch.setattr("fastformers.distillation.teacher_outputs.predict_logits", None)
    ff.distill(teacher, make_student(teacher, (0,)), train, config=config, work_dir=work)
    assert (work / "distill.json").is_file()


def test_the_work_folder_of_the_folder_here_is_beside_it(
    teacher_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / ".work").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = DistillConfig(train=replace(FAST, max_steps=1))
    ff.distill_folders(teacher_dir, teacher_dir, data, ".", layers=(0,), config=config, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".work", "here"]


def test_what_cannot_be_distilled_is_refused_before_the_teacher_runs(
    teacher: Any, data: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastformers.distillation.teacher_outputs.predict_logits", None)  # never called
    train, val = (of(data, split, tokenizer) for split in ("train", "val"))
    unlabelled = [replace(example, label=None) for example in val.examples]
    nameless = encode(unlabelled, tokenizer, val.task, max_length=16)
    pruned = make_student(teacher, heads=2)
    as_many_heads = DistillConfig(attention=1.0, attention_kind="probabilities", train=FAST)
    no_such_layer = DistillConfig(hidden_states=1.0, layer_map=((0, 9),), train=FAST)
    on_a_cpu = DistillConfig(train=replace(FAST, precision="float16"))
    for student, config, scored, message in (
        (pruned, as_many_heads, val, "equal numbers of heads"),
        (pruned, no_such_layer, val, r"layer_map has \(0, 9\)"),
        (pruned, on_a_cpu, val, "for GPUs"),
        (pruned, DistillConfig(train=FAST), nameless, "of the validation set has no label"),
        (make_student(teacher).half(), DistillConfig(train=FAST), val, r"call model\.float\(\) first"),
    ):
        with pytest.raises((ConfigError, UnsupportedModelError), match=message):
            ff.distill(teacher, student, train, eval=scored, config=config)


@pytest.mark.parametrize("student", ["teacher", "saved"])
def test_students_saved_in_half_are_trained_in_float32(
    student: str, trained: Any, data: Path, tokenizer: Any, tmp_path: Path
) -> None:
    task_file = TaskFile(custom_task(data), 16)
    for name in ("teacher", "saved"):
        save_model(deepcopy(trained).bfloat16(), tmp_path / name, tokenizer, task_file)
    opened = open_student(
        tmp_path / student, open_model(tmp_path / "teacher"), task_file.task, (0, 1), seed=0
    )
    assert {one.dtype for one in opened.model.parameters()} == {torch.float32}


def test_a_damaged_note_in_a_work_folder_is_told_with_the_remedy(
    teacher: Any, data: Path, tokenizer: Any, tmp_path: Path
) -> None:
    train, student = of(data, "train", tokenizer), make_student(teacher, (0,))
    (tmp_path / "distill.json").write_text('{"losses":')
    with pytest.raises(FormatError, match=f"delete {tmp_path} to start anew"):
        ff.distill(teacher, student, train, config=DistillConfig(train=FAST), work_dir=tmp_path)


def test_a_quantized_and_a_compiled_teacher_teach_too(teacher: Any, data: Path, tokenizer: Any) -> None:
    train = of(data, "train", tokenizer)
    compiled = ff.compile(teacher, ff.CompileConfig(int8=None))
    quantized = deepcopy(teacher)
    ff.quantize_(quantized, ff.Int8Config(never_slower=False, equalize=False))
    sizes = []
    for one in (compiled, quantized):
        student = make_student(teacher, (0,))
        before = distance(teacher, student, train)
        report = ff.distill(one, student, train, eval=train, config=DistillConfig(train=FAST))
        assert distance(teacher, student, train) < before
        assert report.teacher_score is not None
        sizes.append(report.teacher)
    assert sizes[0] == ModelSize(None, None)
    assert str(sizes[0]) == ""
    assert sizes[1].parameters == sum(parameter.numel() for parameter in teacher.parameters())


def test_from_folder_to_folder_by_layers(teacher_dir: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "student"
    report = ff.distill_folders(
        teacher_dir,
        teacher_dir,
        data,
        output,
        layers=(0, 2),
        activation="relu",
        config=DistillConfig(train=FAST),
        progress=False,
    )
    opened = open_model(output)
    assert len(parts_of(opened.model).layers) == 2
    assert opened.model.config.hidden_act == "relu"
    assert opened.required_task().to_dict() == {**TaskFile.load(teacher_dir).to_dict(), "pairs": False}
    assert score(opened.model, of(data, "val", opened.tokenizer)) == report.student_score
    saved = json.loads((output / "distill_report.json").read_text())
    assert saved["teacher_score"] == report.teacher_score
    assert saved["difference"] == report.difference
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_checkpoint_of_another_tokenizer_learns_logits_and_the_report_says_so(
    teacher_dir: Path, checkpoint: Path, data: Path, other_tokenizer: Any, tmp_path: Path
) -> None:
    config = DistillConfig(train=FAST)
    report = ff.distill_folders(
        teacher_dir, checkpoint, data, tmp_path / "out", config=config, progress=False
    )
    assert "only logits pass between them" in str(report)
    assert report.teacher_score > 90
    opened = open_model(tmp_path / "out")
    assert opened.tokenizer.get_vocab() == other_tokenizer.get_vocab()
    with pytest.raises(ConfigError, match="different tokens"):
        ff.distill_folders(
            teacher_dir,
            checkpoint,
            data,
            tmp_path / "no",
            config=replace(config, hidden_states=1.0),
            progress=False,
        )
    assert not (tmp_path / "no").exists()


def test_a_new_head_is_drawn_with_the_runs_seed(
    teacher_dir: Path, data: Path, other_tokenizer: Any, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    classifier(5, hidden_size=16, num_attention_heads=2, num_hidden_layers=1).bert.save_pretrained(bare)
    other_tokenizer.save_pretrained(bare)
    heads = {}
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        still = replace(FAST, max_steps=1, learning_rate=1e-12, seed=seed)
        config = DistillConfig(train=still)
        ff.distill_folders(teacher_dir, bare, data, tmp_path / name, config=config, progress=False)
        model: Any = open_model(tmp_path / name).model
        heads[name] = model.classifier.weight.detach()
    assert torch.equal(heads["one"], heads["same"])
    assert (heads["one"] - heads["other"]).abs().max() > 1e-3  # weights are drawn with a deviation of 0.02


def test_a_model_of_ours_is_distilled_further_as_it_is(teacher_dir: Path, data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    config = DistillConfig(train=replace(FAST, epochs=1.0))
    ff.distill_folders(teacher_dir, teacher_dir, data, first, layers=(0, 1), config=config, progress=False)
    frozen = DistillConfig(train=replace(FAST, epochs=1.0, learning_rate=1e-12))
    report = ff.distill_folders(teacher_dir, first, data, second, config=frozen, progress=False)
    assert report.student.layers == 2
    train = of(data, "train", open_model(first).tokenizer)
    assert distance(open_model(first).model, open_model(second).model, train) < 1e-5


def test_a_pruned_student_learns_from_the_unpruned_teacher_and_stays_pruned(
    teacher: Any, teacher_dir: Path, data: Path, tokenizer: Any, tmp_path: Path
) -> None:
    ff.prune_(teacher, ff.PruneConfig(heads=2, ffn=24, scores="magnitude"))
    save_model(teacher, tmp_path / "pruned", tokenizer, TaskFile(custom_task(data), 16))
    config = DistillConfig(hidden_states=0.5, attention=0.5, train=FAST)
    report = ff.distill_folders(
        teacher_dir, tmp_path / "pruned", data, tmp_path / "out", config=config, progress=False
    )
    student = open_model(tmp_path / "out").model
    assert {(shape.heads, shape.intermediate) for shape in shapes_of(student)} == {(2, 24)}
    assert score(student, of(data, "val", tokenizer)) == report.student_score


def test_unlabelled_texts_join_the_training_set(teacher_dir: Path, data: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("the cat sat\n\n  good money bank \n", encoding="utf-8")
    config = DistillConfig(hard_labels=0.5, train=replace(FAST, epochs=1.0))
    report = ff.distill_folders(
        teacher_dir,
        teacher_dir,
        data,
        tmp_path / "out",
        layers=(0,),
        config=config,
        unlabelled=texts,
        progress=False,
    )
    assert (report.examples, report.unlabelled) == (50, 2)
    assert "50 examples, 2 of them without a label" in str(report)


@pytest.mark.parametrize(
    ("name", "content", "pairs", "examples"),
    [
        ("a.txt", "one\r\n\n two \u2028three\n", False, [("one", None), ("two \u2028three", None)]),
        (
            "a.jsonl",
            '{"text": "one"}\n\n{"text": "two", "label": "x"}\n',
            False,
            [("one", None), ("two", None)],
        ),
        ("a.jsonl", '{"text": "one", "text_pair": "two"}\n', True, [("one", "two")]),
        ("a.csv", 'text,label\n"one, two",good\n', False, [("one, two", None)]),
    ],
)
def test_unlabelled_files_are_read(
    name: str, content: str, pairs: bool, examples: list[Any], tmp_path: Path, data: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    found = read_unlabelled(path, custom_task(data), tmp_path, pairs)
    assert [(example.text, example.text_pair) for example in found] == examples
    assert all(example.label is None for example in found)


@pytest.mark.parametrize(
    ("name", "content", "pairs", "message"),
    [
        ("a.txt", b"\n \n", False, "holds no texts"),
        ("a.txt", b"\xff\xfe", False, "not UTF-8"),
        ("a.jsonl", b'{"text": "one"}\n{"text": ""}\n', False, "a.jsonl line 2: 'text' is empty"),
        ("a.jsonl", b'{"text": "one"}\n', True, "a.jsonl line 1: has no field 'text_pair'"),
        ("a.jsonl", b'{"text": "a", "text_pair": "b"}\n', False, "a.jsonl line 1: has a text_pair"),
        ("a.txt", b"one\n", True, "jsonl with text and text_pair"),
        ("a.csv", b"Text\none\n", False, "a.csv line 2: has the field 'Text': write it as 'text'"),
        (
            "a.tsv",
            b"text\none\n",
            False,
            "as .txt, one a line, as .csv or .jsonl, or from the task's test set",
        ),
    ],
)
def test_unlabelled_files_that_do_not_fit_are_refused(
    name: str, content: bytes, pairs: bool, message: str, tmp_path: Path, data: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((FormatError, ConfigError), match=message):
        read_unlabelled(path, custom_task(data), tmp_path, pairs)


def test_a_compiled_teacher_is_not_cut_into_a_student(teacher_dir: Path, data: Path, tmp_path: Path) -> None:
    teacher = open_model(teacher_dir)
    save_model(ff.compile(teacher.model), tmp_path / "fast", teacher.tokenizer, teacher.required_task())
    with pytest.raises(UnsupportedModelError, match=r"fast holds a compiled encoder.* cut into a student"):
        ff.distill_folders(
            tmp_path / "fast", tmp_path / "fast", data, tmp_path / "out", layers=(0,), progress=False
        )


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ("train", "the train set has pairs of texts and the val set none"),
        ("val", "the val set has pairs of texts and the train set none"),
        ("test", "the test set has pairs of texts and the train set none"),
    ],
)
def test_second_texts_in_one_set_only_are_refused(
    pairs: str, told: str, teacher_dir: Path, tmp_path: Path
) -> None:
    for split in ("train", "val", "test"):
        second = {"text_pair": "a dog"} if split == pairs else {}
        lines = [json.dumps({**row, **second}) for row in rows(8, 0)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        ff.distill_folders(
            teacher_dir,
            teacher_dir,
            tmp_path,
            tmp_path / "out",
            layers=(0,),
            unlabelled="test",
            progress=False,
        )


def test_a_test_set_gives_its_texts_and_spans_without_its_labels(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(
        '{"word": "sun", "sentence1": "A sun.", "sentence2": "The sun.", "start1": 2, "end1": 5, "start2": 4, '
        '"end2": 7, "idx": 0, "label": true}\n',
        encoding="utf-8",
    )
    (found,) = read_unlabelled("test", get_task("wic"), tmp_path, False)
    assert found.label is None
    assert found.spans == load_examples(get_task("wic"), tmp_path, "test")[0].spans != ()


def test_placeholders_in_a_test_set_are_not_looked_at(data: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\nthe cat,?\na dog,-1\n", encoding="utf-8")
    found = read_unlabelled("test", custom_task(data), tmp_path, False)
    assert [(each.text, each.label) for each in found] == [("the cat", None), ("a dog", None)]
    with pytest.raises(FormatError, match="the label '\\?' is none of custom's"):
        load_examples(custom_task(data), tmp_path, "test")


def test_texts_are_cut_at_the_fixed_length(teacher_dir: Path, data: Path, tmp_path: Path) -> None:
    config = DistillConfig(train=TrainConfig(max_steps=1, device="cpu", fixed_length=4))
    distilling.distill_folders(teacher_dir, teacher_dir, data, tmp_path / "out", layers=(0,), config=config)
    assert open_model(tmp_path / "out").required_task().max_length == 4


def test_unlabelled_texts_have_the_spans_that_a_task_marks(tmp_path: Path) -> None:
    path = tmp_path / "more.jsonl"
    path.write_text(
        '{"text": "A sun.", "text_pair": "The sun.", "spans": [[2, 5], [4, 7]]}\n'
        '{"text": "The sun.", "text_pair": "A sun.", "spans": [[4, 7], [2, 5]], "span_texts": [0, 1]}\n',
        encoding="utf-8",
    )
    found = read_unlabelled(path, get_task("wic"), tmp_path, True)
    assert [(each.text, each.text_pair, each.label) for each in found] == [
        ("A sun.", "The sun.", None),
        ("The sun.", "A sun.", None),
    ]
    assert [each.spans for each in found] == [((2, 5), (4, 7)), ((4, 7), (2, 5))]
    path.write_text('{"text": "Mark lies, he says.", "spans": [[0, 4], [11, 13]]}\n', encoding="utf-8")
    (found,) = read_unlabelled(path, get_task("wsc"), tmp_path, False)
    assert found.spans == ((0, 4), (11, 13))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "line 1: has no field 'spans', and wic marks spans in its texts"),
        ({"spans": [[2, 5]]}, r"line 1: span_texts is \(0, 1\), must name the text of each of the 1 spans"),
        ({"spans": [[2, 5], [4, 9]]}, r"line 1: span 1, \[4, 9\), is not a range"),
        (
            {"spans": [[2, 5], [0, 1]], "span_texts": [0, 0]},
            r"line 1: marks spans in the texts \(0, 0\); wic marks them in \(0, 1\)",
        ),
        ({"spans": [[1, 2], [4, 7]]}, r"line 1: the span \[1, 2\) of text 0 marks white space"),
    ],
)
def test_unlabelled_texts_without_a_task_s_spans_are_refused(
    row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps({"text": "A sun.", "text_pair": "The sun.", **row}), encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_unlabelled(path, get_task("wic"), tmp_path, True)


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_unlabelled_texts_with_spans_come_as_json_lines(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wic marks spans.*\.jsonl with text, spans"):
        read_unlabelled(tmp_path / name, get_task("wic"), tmp_path, True)


def test_both_models_leave_out_what_either_lost_a_span_of(tmp_path: Path) -> None:
    (tmp_path / "WSC").mkdir()
    lines = [
        {
            "idx": index,
            "text": text,
            "target": {"span1_index": 0, "span1_text": "the", "span2_index": last, "span2_text": "sat"},
            "label": True,
        }
        for index, (text, last) in enumerate([("the cat sat", 2), ("the cat money sat", 3)])
    ]
    for split in ("train", "val"):
        (tmp_path / "WSC" / f"{split}.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    short = word_pieces(["the", "cat", "sat", "money"])
    long = word_pieces(["the", "cat", "sat", *"mon", "##o", "##n", "##e", "##y"])
    found = pair_data(tmp_path, TaskFile(get_task("wsc"), 6), short, long)
    assert [example.guid for example in found.train.examples] == ["0"]
    assert [example.guid for example in found.teacher_train.examples] == ["0"]
    assert found.dropped == 2


def test_the_teachers_folder_without_layers_is_refused(teacher_dir: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no layers are chosen"):
        ff.distill_folders(teacher_dir, teacher_dir, data, tmp_path / "out", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_student_may_differ_from_its_teacher_in_its_activation_alone(
    teacher_dir: Path, data: Path, tmp_path: Path
) -> None:
    config = DistillConfig(train=replace(FAST, max_steps=1))
    ff.distill_folders(
        teacher_dir, teacher_dir, data, tmp_path / "out", activation="relu", config=config, progress=False
    )
    teacher, student = open_model(teacher_dir).model, open_model(tmp_path / "out").model
    assert (teacher.config.hidden_act, student.config.hidden_act) == ("gelu", "relu")
    assert shapes_of(student) == shapes_of(teacher)


def test_a_student_may_be_narrower_than_its_teacher(teacher_dir: Path, data: Path, tmp_path: Path) -> None:
    config = DistillConfig(train=replace(FAST, max_steps=1))
    ff.distill_folders(
        teacher_dir,
        teacher_dir,
        data,
        tmp_path / "out",
        heads=1,
        ffn=24,
        hidden=16,
        config=config,
        progress=False,
    )
    student = open_model(tmp_path / "out").model
    assert student.config.hidden_size == 16
    assert {(shape.heads, shape.intermediate) for shape in shapes_of(student)} == {(1, 24)}


def test_a_teacher_whose_task_is_not_known_is_refused(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    unnamed = Path(shutil.copytree(checkpoint, tmp_path / "unnamed"))
    config = json.loads((unnamed / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (unnamed / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"no task\.json"):
        ff.distill_folders(unnamed, unnamed, data, tmp_path / "out", layers=(0,), progress=False)


def test_a_student_of_another_task_is_refused(
    teacher_dir: Path, data: Path, tokenizer: Any, tmp_path: Path
) -> None:
    save_model(classifier(), tmp_path / "other", tokenizer, TaskFile(get_task("rte"), 16))
    with pytest.raises(ConfigError, match="holds a model for rte"):
        ff.distill_folders(teacher_dir, tmp_path / "other", data, tmp_path / "out", progress=False)


def test_an_int8_student_is_refused(
    teacher: Any, teacher_dir: Path, data: Path, tokenizer: Any, tmp_path: Path
) -> None:
    ff.quantize_(teacher, ff.Int8Config(never_slower=False, equalize=False))
    save_model(teacher, tmp_path / "int8", tokenizer, TaskFile(custom_task(data), 16))
    with pytest.raises(UnsupportedModelError, match="INT8"):
        ff.distill_folders(teacher_dir, tmp_path / "int8", data, tmp_path / "out", progress=False)


def test_a_place_that_is_taken_is_refused_before_anything_is_computed(
    teacher_dir: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    for overwrite, message in ((False, "not empty"), (True, "not saved by fastformers")):
        with pytest.raises(ConfigError, match=message):
            ff.distill_folders(
                teacher_dir, teacher_dir, data, tmp_path / "out", layers=(0,), overwrite=overwrite
            )
    with pytest.raises(ConfigError, match="make it first"):
        ff.distill_folders(teacher_dir, teacher_dir, data, tmp_path / "no" / "out", layers=(0,))


def test_a_run_that_was_interrupted_goes_on_and_leaves_nothing_half_written(
    teacher_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DistillConfig(train=replace(FAST, epochs=2.0))

    def call(output: Path) -> DistillReport:
        return ff.distill_folders(
            teacher_dir, teacher_dir, data, output, layers=(0,), config=config, progress=False
        )

    def fail(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    whole = call(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(distilling, "save_model", fail)
        with pytest.raises(KeyboardInterrupt):
            call(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.work", "whole"]
    assert call(tmp_path / "out").student_score == whole.student_score
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]
    one, other = (open_model(tmp_path / name).model.state_dict() for name in ("out", "whole"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
