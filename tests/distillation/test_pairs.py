# SPDX-License-Identifier: MIT
"""What cannot be distilled is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from fastformers import Int8Config, compile, prune_vocabulary_, quantize_
from fastformers.config import CompileConfig, DistillConfig
from fastformers.distillation import check_pair
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.tasks import EncodedExamples, Example, encode
from fastformers.tasks.custom import task_with_labels

Build = Callable[..., nn.Module]
TOKEN_CONFIGS = [
    DistillConfig(embeddings=0.1),
    DistillConfig(hidden_states=0.1),
    DistillConfig(attention=0.1),
]


def encode_again(encoded: EncodedExamples, tokenizer: Any, examples: list[Example]) -> EncodedExamples:
    return encode(examples, tokenizer, encoded.task, max_length=16)


def named(model: Any, *names: str) -> nn.Module:
    model.config.id2label = dict(enumerate(names))
    named_model: nn.Module = model
    return named_model


def test_nothing_is_said_of_a_pair_with_one_tokenizer(
    build: Build, encoded: EncodedExamples, examples: list[Example], tokenizer: Any
) -> None:
    again = encode_again(encoded, tokenizer, examples)
    for config in (DistillConfig(), *TOKEN_CONFIGS):
        assert check_pair(build(), build(seed=1), config, encoded, again) == ()
        assert check_pair(build(), build(seed=1), config, encoded) == ()


def test_a_temperature_is_refused_where_numbers_are_predicted(
    build: Build, encoded: EncodedExamples, tokenizer: Any
) -> None:
    numbers = encode([Example("1", "the cat", None, 0.5)], tokenizer, task_with_labels(()), max_length=16)
    pair = build(num_labels=1), build(num_labels=1, seed=1)
    assert check_pair(*pair, DistillConfig(), numbers) == ()
    with pytest.raises(ConfigError, match="temperature is 2, and custom predicts numbers"):
        check_pair(*pair, DistillConfig(temperature=2.0), numbers)


def test_logits_pass_between_two_tokenizers_and_the_report_says_so(
    build: Build, encoded: EncodedExamples, examples: list[Example], other_tokenizer: Any
) -> None:
    theirs = encode_again(encoded, other_tokenizer, examples)
    (note,) = check_pair(build(), build(seed=1), DistillConfig(), encoded, theirs)
    assert "only logits pass between them" in note


@pytest.mark.parametrize("config", TOKEN_CONFIGS)
def test_losses_of_tokens_between_two_tokenizers_are_refused(
    config: DistillConfig,
    build: Build,
    encoded: EncodedExamples,
    examples: list[Example],
    other_tokenizer: Any,
) -> None:
    theirs = encode_again(encoded, other_tokenizer, examples)
    with pytest.raises(ConfigError, match="different tokens"):
        check_pair(build(), build(seed=1), config, encoded, theirs)


def test_the_same_words_under_other_numbers_are_not_called_other_words(
    build: Build, encoded: EncodedExamples, examples: list[Example], renumbering_tokenizer: Any
) -> None:
    theirs = encode_again(encoded, renumbering_tokenizer, examples)
    assert check_pair(build(), build(seed=1), DistillConfig(), encoded, theirs) == ()
    for config in TOKEN_CONFIGS:
        with pytest.raises(ConfigError, match="same tokens, but number them differently"):
            check_pair(build(), build(seed=1), config, encoded, theirs)


def test_other_special_tokens_around_the_same_words_are_not_called_other_words(
    build: Build, encoded: EncodedExamples, tokenizer: Any, framing_tokenizer: Any
) -> None:
    pairs = [Example("1", "the cat sat", "a dog ran", 0), Example("2", "the river", "the bank", 1)]
    ours, theirs = (encode_again(encoded, each, pairs) for each in (tokenizer, framing_tokenizer))
    assert [one + 1 for one in ours.lengths] == theirs.lengths  # MPNet has two separators between texts
    (note,) = check_pair(build(), build(seed=1), DistillConfig(), ours, theirs)
    assert "different special tokens around the same tokens" in note
    for config in TOKEN_CONFIGS:
        with pytest.raises(ConfigError, match="same tokens, but put different special tokens around them"):
            check_pair(build(), build(seed=1), config, ours, theirs)


def test_a_teacher_does_not_read_the_numbers_of_a_smaller_vocabulary(
    build: Build, encoded: EncodedExamples, examples: list[Example], tokenizer: Any
) -> None:
    teacher, student = build(vocab_size=len(tokenizer)), build(vocab_size=len(tokenizer))
    smaller = prune_vocabulary_(student, tokenizer, [example.text for example in examples[:4]])
    ours = encode_again(encoded, smaller, examples)
    with pytest.raises(
        ConfigError, match=r"the teacher knows 21 words, the student 1\d, .*give teacher_train"
    ):
        check_pair(teacher, student, DistillConfig(), ours)
    note = check_pair(teacher, student, DistillConfig(), ours, encoded)
    assert "different tokens" in note[0]  # the student reads [UNK] where the teacher reads a word


def test_other_texts_for_the_teacher_are_refused(
    build: Build, encoded: EncodedExamples, examples: list[Example], tokenizer: Any
) -> None:
    swapped = encode_again(encoded, tokenizer, [examples[1], examples[0], *examples[2:]])
    with pytest.raises(ConfigError, match="example 0 of the student is 1 of the teacher"):
        check_pair(build(), build(seed=1), DistillConfig(), encoded, swapped)
    with pytest.raises(ConfigError, match="12 examples, the teacher 11"):
        check_pair(build(), build(seed=1), DistillConfig(), encoded, encoded.subset(range(11)))


def test_scores_on_other_examples_are_refused(
    build: Build, encoded: EncodedExamples, examples: list[Example], tokenizer: Any
) -> None:
    swapped = encode_again(encoded, tokenizer, [examples[1], examples[0], *examples[2:]])
    unlabelled = encode_again(encoded, tokenizer, [replace(examples[0], label=None), *examples[1:]])
    pair = build(), build(seed=1), DistillConfig(), encoded
    for other, words in (
        (encoded.subset(range(11)), "12 examples to be scored on, the teacher 11"),
        (swapped, "example 0 of the student is 1 of the teacher to be scored on, with another text"),
        (unlabelled, "with another label"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_pair(*pair, eval=encoded, teacher_eval=other)


def test_token_ids_that_the_teacher_does_not_have_are_refused(build: Build, encoded: EncodedExamples) -> None:
    with pytest.raises(ConfigError, match="the teacher knows 8 token ids"):
        check_pair(build(vocab_size=8), build(seed=1), DistillConfig(), encoded)


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize(("family", "positions"), [("bert", 6), ("roberta", 7)])
def test_texts_longer_than_a_model_takes_are_refused(
    role: str, family: str, positions: int, build: Build, encoded: EncodedExamples
) -> None:
    models = {"teacher": build(), "student": build(seed=1)}
    models[role] = build(family, max_position_embeddings=positions)
    with pytest.raises(ConfigError, match=f"8 tokens, the {role} has positions for 6: set max_length=6"):
        check_pair(models["teacher"], models["student"], DistillConfig(), encoded)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_texts_to_score_on_that_are_too_long_are_refused_too(
    role: str, build: Build, encoded: EncodedExamples
) -> None:
    models = {"teacher": build(), "student": build(seed=1), role: build(max_position_embeddings=6)}
    short = encoded.subset([index for index, length in enumerate(encoded.lengths) if length <= 6])
    pair = models["teacher"], models["student"], DistillConfig(), short
    assert check_pair(*pair, eval=short, teacher_eval=short) == ()
    with pytest.raises(ConfigError, match=f"8 tokens, the {role} has positions for 6: set max_length=6"):
        check_pair(*pair, eval=encoded, teacher_eval=encoded)


def test_no_examples_are_refused(build: Build, encoded: EncodedExamples) -> None:
    with pytest.raises(ConfigError, match="training set holds no examples"):
        check_pair(build(), build(seed=1), DistillConfig(), encoded.subset([]))


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("head", ["Model", "ForTokenClassification", "ForQuestionAnswering"])
def test_a_model_that_does_not_classify_texts_is_refused(
    role: str, head: str, build: Any, examples: list[Example], tokenizer: Any
) -> None:
    import transformers

    model = getattr(transformers, f"Bert{head}")(build(num_labels=2).config)
    models = {"teacher": build(num_labels=2), "student": build(num_labels=2, seed=1), role: model}
    encoded = encode(examples[:2], tokenizer, task_with_labels(("bad", "good")), max_length=16)
    with pytest.raises(ConfigError, match=f"the {role}, a Bert{head}, gives no logits"):
        check_pair(models["teacher"], models["student"], DistillConfig(), encoded)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_model_of_several_labels_at_once_is_refused(
    role: str, build: Build, encoded: EncodedExamples
) -> None:
    several = build(problem_type="multi_label_classification")
    models = {"teacher": build(), "student": build(seed=1), role: several}
    with pytest.raises(ConfigError, match=f"the {role} gives a text several labels at once"):
        check_pair(models["teacher"], models["student"], DistillConfig(), encoded)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_another_number_of_outputs_is_refused(role: str, build: Build, encoded: EncodedExamples) -> None:
    models = {"teacher": build(), "student": build(seed=1), role: build(num_labels=2)}
    with pytest.raises(ConfigError, match=f"the {role} gives 2 outputs; the task custom has 3"):
        check_pair(models["teacher"], models["student"], DistillConfig(), encoded)


def test_a_model_for_numbers_is_refused_for_classes(build: Build, encoded: EncodedExamples) -> None:
    with pytest.raises(ConfigError, match="the teacher was made for regression"):
        check_pair(build(problem_type="regression"), build(seed=1), DistillConfig(), encoded)


def test_classes_in_another_order_are_refused(build: Build, encoded: EncodedExamples) -> None:
    teacher = named(build(), "bad", "good", "so")
    with pytest.raises(ConfigError, match="bad, good, so; the student's are good, bad, so"):
        check_pair(teacher, named(build(seed=1), "good", "bad", "so"), DistillConfig(), encoded)
    assert check_pair(teacher, build(seed=1), DistillConfig(), encoded) == ()


def test_labels_in_another_order_than_the_classes_are_refused(build: Build, encoded: EncodedExamples) -> None:
    teacher = named(build(), "Good", "Bad", "so")
    words = r"the teacher's classes are Good, Bad, so, .* custom are bad, good, so: .*\('good', 'bad', 'so'\)"
    with pytest.raises(ConfigError, match=words):
        check_pair(teacher, build(seed=1), DistillConfig(), encoded)
    for same in (named(build(), "Bad", "Good", "So"), named(build(), "awful", "fine", "other")):
        assert check_pair(same, build(seed=1), DistillConfig(), encoded) == ()


def test_hard_labels_without_labels_are_refused(
    build: Build, encoded: EncodedExamples, examples: list[Example], tokenizer: Any
) -> None:
    unlabelled = encode_again(encoded, tokenizer, [replace(example, label=None) for example in examples])
    with pytest.raises(ConfigError, match="no example has a label"):
        check_pair(build(), build(seed=1), DistillConfig(hard_labels=0.5), unlabelled)
    assert check_pair(build(), build(seed=1), DistillConfig(), unlabelled) == ()


def test_a_model_is_not_its_own_teacher(build: Build, encoded: EncodedExamples) -> None:
    teacher = build()
    with pytest.raises(ConfigError, match="same object"):
        check_pair(teacher, teacher, DistillConfig(), encoded)


def test_a_student_that_shares_parameters_with_its_teacher_is_refused(
    build: Any, encoded: EncodedExamples
) -> None:
    teacher, student = build(), build(seed=1)
    student.bert.embeddings = teacher.bert.embeddings
    with pytest.raises(
        ConfigError, match=r"shares bert\.embeddings\.word_embeddings\.weight .*\(5 parameters in all"
    ):
        check_pair(teacher, student, DistillConfig(), encoded)


def test_a_quantized_or_compiled_student_is_refused_and_such_a_teacher_is_not(
    build: Build, encoded: EncodedExamples
) -> None:
    quantized = build()
    quantize_(quantized, Int8Config(never_slower=False, equalize=False))
    compiled = compile(build(), CompileConfig(int8=None))
    for model, reason in ((quantized, "INT8"), (compiled, "no parameters to train")):
        with pytest.raises(UnsupportedModelError, match=reason):
            check_pair(build(seed=1), model, DistillConfig(), encoded)
        assert check_pair(model, build(seed=1), DistillConfig(), encoded) == ()
