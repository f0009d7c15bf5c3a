# SPDX-License-Identifier: MIT
"""A classifier that someone else fine-tuned with transformers goes the whole road, by the class names of its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_checkpoint, word_pieces
from transformers import AutoTokenizer, BertForSequenceClassification

import fastformers as ff
from fastformers.config import DistillConfig, PruneConfig, TrainConfig
from fastformers.errors import ConfigError
from fastformers.recipes.compile_folder import compile_folder
from fastformers.recipes.distilling import distill_folders
from fastformers.recipes.model_folder import open_model
from fastformers.recipes.pruning import prune_folder
from fastformers.tasks import Example, TaskFile, build_model, get_task, predict_logits

#: Not in the order of the alphabet, as which the labels of data alone are taken.
NAMES = ("good", "bad")
WORDS = "the cat sat on mat dog ran because so not who bank river money".split()
SHORT = TrainConfig(max_steps=1, device="cpu")


def saved(folder: Path, checkpoint: Path, names: tuple[str, ...], **config: Any) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification.from_pretrained(
            checkpoint,
            id2label=dict(enumerate(names)),
            label2id={name: place for place, name in enumerate(names)},
            **config,
        )
        with torch.no_grad():
            model.classifier.weight.normal_()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    return saved(tmp_path_factory.mktemp("stock"), tiny_checkpoint, NAMES)


def test_it_is_scored_by_its_own_class_names(
    stock: Path, own_data: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    other = saved(tmp_path, tiny_checkpoint, NAMES[::-1])
    scores = [ff.evaluate(folder, own_data)["accuracy"] for folder in (stock, other)]
    assert sum(scores) == pytest.approx(1.0)
    assert scores[0] != scores[1]


@pytest.fixture(scope="module")
def of_290_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that takes more tokens than training does by default."""
    base = tmp_path_factory.mktemp("long")
    tokenizer = word_pieces([*WORDS, *NAMES])
    tokenizer.model_max_length = 290
    checkpoint = save_checkpoint(base / "checkpoint", tokenizer, max_position_embeddings=300)
    return saved(base / "stock", checkpoint, NAMES)


@pytest.mark.filterwarnings("ignore:a text of more than")
@pytest.mark.parametrize("kind", ["stock", "compiled", "compiled with its data"])
def test_it_is_scored_on_the_tokens_that_it_answers_by(
    kind: str, of_290_tokens: Path, own_data: Path, tmp_path: Path
) -> None:
    folder = of_290_tokens
    if kind != "stock":
        folder = tmp_path / "fast"
        compile_folder(of_290_tokens, folder, data_dir=None if kind == "compiled" else own_data)
    text = "the cat " * 132 + "sat on " * 100
    (answer,) = ff.predict(folder, [text])
    opened = open_model(folder)
    logits = predict_logits(opened.model, opened.encode([Example("0", text)]), batch_size=1)
    # float32 sums in another order: measured 6e-8.
    assert answer.score == pytest.approx(float(torch.from_numpy(logits).softmax(1).max()), abs=1e-6)
    assert 0.01 < ff.evaluate(folder, own_data)["accuracy"] < 0.99


def test_what_learns_from_it_reads_256_tokens(of_290_tokens: Path, own_data: Path, tmp_path: Path) -> None:
    distill_folders(
        of_290_tokens,
        of_290_tokens,
        own_data,
        tmp_path / "d",
        layers=(0,),
        config=DistillConfig(train=SHORT),
        progress=None,
    )
    assert TaskFile.load(tmp_path / "d").max_length == 256


def test_a_recipe_that_names_another_length_is_refused(
    of_290_tokens: Path, own_data: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        '[recipe]\nmax_length = 256\n[models]\nstock = ""\n[[stage]]\nname = "fast"\nkind = "compile"\n'
        'model = "stock"\n'
    )
    with pytest.raises(ConfigError, match=r"cuts texts after 290 tokens, and .recipe. max_length is 256"):
        ff.recipe(recipe, tmp_path / "out", data=own_data, models={"stock": of_290_tokens}, progress=False)


def test_it_teaches_and_is_pruned_and_trained_further(stock: Path, own_data: Path, tmp_path: Path) -> None:
    distill_folders(
        stock,
        stock,
        own_data,
        tmp_path / "d",
        layers=(0, 1),
        config=DistillConfig(train=SHORT),
        progress=None,
    )
    prune_folder(tmp_path / "d", tmp_path / "p", own_data, PruneConfig(heads=2))
    prune_folder(stock, tmp_path / "q", own_data, PruneConfig(ffn=0.5))
    ff.train(tmp_path / "q", own_data, tmp_path / "t", config=SHORT, progress=None)
    ff.train(stock, own_data, tmp_path / "u", config=SHORT, progress=None)
    for name in "dpqtu":
        assert TaskFile.load(tmp_path / name).task.labels == NAMES


def test_a_recipe_scores_what_it_taught_by_its_class_names(
    stock: Path, own_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text(
        '[models]\nstock = ""\n[[stage]]\nname = "student"\nkind = "distill"\nteacher = "stock"\nstudent = "stock"\n'
        "layers = [0]\nmax_steps = 1\n"
    )
    report = ff.recipe(
        tmp_path / "r.toml", tmp_path / "out", data=own_data, models={"stock": stock}, progress=False
    )
    assert report.rows[0].metrics == ff.evaluate(tmp_path / "out" / "student", own_data)


@pytest.mark.parametrize(
    ("names", "config"),
    [(("LABEL_0", "LABEL_1"), {}), (NAMES, {"problem_type": "multi_label_classification"})],
)
def test_one_whose_answers_are_not_known_says_what_to_do(
    tiny_checkpoint: Path, tmp_path: Path, names: tuple[str, ...], config: dict[str, str]
) -> None:
    folder = saved(tmp_path, tiny_checkpoint, names, **config)
    with pytest.raises(ConfigError, match=r"that exclude each other.*save the task beside the model"):
        open_model(folder).required_task()


def test_a_task_file_whose_classes_are_in_another_order_is_refused(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Its answers would be exchanged, and nothing else would tell."""
    folder = saved(tmp_path / "other", tiny_checkpoint, ("false", "true"))
    TaskFile(get_task("boolq"), 64).save(folder)
    with pytest.raises(ConfigError, match=r"order false, true, its task\.json .*boolq.* order True, False"):
        open_model(folder)
    for names in (("true", "false"), ("LABEL_0", "LABEL_1"), ("yes", "no")):
        folder = saved(tmp_path / names[0], tiny_checkpoint, names)
        TaskFile(get_task("boolq"), 64).save(folder)
        assert open_model(folder).required_task().task.name == "boolq"


NO_STEP = TrainConfig(max_steps=1, learning_rate=1e-12, device="cpu")


def test_a_head_keeps_its_meaning_whatever_the_order_and_capitals_of_its_classes(
    stock: Path, own_data: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    accuracy = ff.evaluate(stock, own_data)["accuracy"]
    capitals = saved(tmp_path / "capitals", tiny_checkpoint, ("Good", "BAD"))
    report = ff.train(capitals, own_data, tmp_path / "own", config=NO_STEP, progress=None)
    assert report.metrics["accuracy"] == pytest.approx(accuracy)
    assert TaskFile.load(tmp_path / "own").task.labels == NAMES


def test_a_head_gets_the_order_of_an_official_task(tiny_checkpoint: Path, tmp_path: Path) -> None:
    mnli = get_task("mnli")  # contradiction, entailment, neutral
    folder = saved(tmp_path / "mnli", tiny_checkpoint, ("CONTRADICTION", "NEUTRAL", "ENTAILMENT"))
    theirs = BertForSequenceClassification.from_pretrained(folder).classifier
    ours: Any = build_model(mnli, folder)
    for name in ("weight", "bias"):
        assert torch.equal(getattr(ours.classifier, name), getattr(theirs, name)[[0, 2, 1]])
    assert ours.config.id2label == dict(enumerate(mnli.labels))
