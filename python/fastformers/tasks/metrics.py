# SPDX-License-Identifier: MIT
"""The tasks' metrics: plain ones from scikit-learn and SciPy, grouped ones (MultiRC, ReCoRD, COPA, AX-g) here.

All are fractions from 0 to 1, correlations from -1 to 1. Where the paper's metric is not the official one, both are
given under names of their own; ``fastformers.tasks.get_task`` says which of them make the score.
"""

from __future__ import annotations

import re
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastformers._optional import require
from fastformers.errors import ConfigError
from fastformers.tasks.example import Example
from fastformers.tasks.task import Logits, Task

__all__ = [
    "Classification",
    "answers_of",
    "best_candidates",
    "choices",
    "correlations",
    "gender_pairs",
    "multirc",
    "record",
    "wsc",
]

_Indices = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _sklearn() -> Any:
    return require("sklearn.metrics", "train", "fastformers.tasks.evaluate")


def _accuracy(truth: _Indices, chosen: _Indices) -> float:
    return float((truth == chosen).mean())


def _f1_of(positive: int) -> Callable[[_Indices, _Indices], float]:
    """F1 of one class; 0 where it is neither there nor predicted."""

    def f1(truth: _Indices, chosen: _Indices) -> float:
        return float(_sklearn().f1_score(truth == positive, chosen == positive, zero_division=0.0))

    return f1


def _f1_macro(truth: _Indices, chosen: _Indices) -> float:
    """Mean of the F1 of the classes that occur among truths or answers."""
    return float(_sklearn().f1_score(truth, chosen, average="macro", zero_division=0.0))


def _matthews(truth: _Indices, chosen: _Indices) -> float:
    return float(_sklearn().matthews_corrcoef(truth, chosen))


_BY_NAME: dict[str, Callable[[_Indices, _Indices], float]] = {
    "accuracy": _accuracy,
    "f1": _f1_of(1),
    "f1_first_label": _f1_of(0),
    "f1_macro": _f1_macro,
    "matthews": _matthews,
}


class Classification:
    """Metrics of the most likely label, by name: accuracy, f1 (of label 1), f1_macro, matthews."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._metrics = {name: _BY_NAME[name] for name in names}

    def __call__(self, examples: Sequence[Example], logits: Logits) -> dict[str, float]:
        """Scores logits of shape [examples, labels]."""
        truth, chosen = _truth(examples), _choices(logits)
        return {name: metric(truth, chosen) for name, metric in self._metrics.items()}


def wsc(examples: Sequence[Example], logits: Logits) -> dict[str, float]:
    """Accuracy (official), F1 of True, and the published code's F1, which is of False."""
    truth, chosen = _truth(examples), _choices(logits)
    return {
        "accuracy": _accuracy(truth, chosen),
        "f1_true": _f1_of(0)(truth, chosen),
        "f1_false": _f1_of(1)(truth, chosen),
    }


def multirc(examples: Sequence[Example], logits: Logits) -> dict[str, float]:
    """Exact match of whole questions, F1 averaged over questions (the paper's) and over all answers (official F1a).

    ``official_mean`` is the leaderboard's number, the mean of exact match and F1a.
    """
    truth, chosen = _truth(examples), _choices(logits)
    exact, f1 = [], []
    for members in _groups(examples).values():
        exact.append(bool((truth[members] == chosen[members]).all()))
        f1.append(_pooled_f1(truth[members], chosen[members]))
    f1_answers, exact_match = _pooled_f1(truth, chosen), float(np.mean(exact))
    return {
        "exact_match": exact_match,
        "f1_questions": float(np.mean(f1)),
        "f1_answers": f1_answers,
        "official_mean": (exact_match + f1_answers) / 2,
    }


def _pooled_f1(truth: _Indices, chosen: _Indices) -> float:
    """2 TP / (2 TP + FP + FN) of label 1; 0 without any. One call for each question: scikit-learn's takes 1 ms."""
    named = int(truth.sum() + chosen.sum())
    return 2.0 * int((truth * chosen).sum()) / named if named else 0.0


def record(examples: Sequence[Example], logits: Logits) -> dict[str, float]:
    """Exact match and token F1 of each query's most likely entity, the best over the gold answers (as SQuAD)."""
    exact, f1 = [], []
    for choice in best_candidates(examples, logits):
        answers = examples[choice].facts["answers"]
        if answers is None:
            raise ConfigError(
                f"example {examples[choice].guid} has no answers: only labelled examples have a score"
            )
        exact.append(max(float(_plain(examples[choice].answer) == _plain(answer)) for answer in answers))
        f1.append(max(_token_f1(examples[choice].answer, answer) for answer in answers))
    return {"exact_match": float(np.mean(exact)), "f1": float(np.mean(f1))}


def choices(examples: Sequence[Example], logits: Logits) -> dict[str, float]:
    """Accuracy of the most likely candidate of each group (COPA by choices)."""
    return {
        "accuracy": float(np.mean([_known(examples[best]) for best in best_candidates(examples, logits)]))
    }


def answers_of(task: Task, examples: Sequence[Example], logits: Logits) -> list[int | float]:
    """Returns the answer to each example: its likeliest label, or of a regression the number.

    Where a task picks one example of each group, 1 for that one and 0 for the others: two models that find all of them
    unlikely can still pick different ones.
    """
    if task.kind == "regression":
        found: list[int | float] = logits[:, 0].tolist()
    elif task.picks_one:
        picked = set(best_candidates(examples, logits))
        found = [int(index in picked) for index in range(len(examples))]
    else:
        found = _choices(logits).tolist()
    return found


def best_candidates(examples: Sequence[Example], logits: Logits) -> Iterator[int]:
    """Yields for each group, e.g. ReCoRD's query, the index of its candidate with the highest probability of label 1.

    The first one of several with the same. By probability everywhere: the published code scores by probability and
    submits by raw logit, which may be different answers.
    """
    margins = logits[:, 1] - logits[:, 0]  # a softmax over two grows with their difference
    for members in _groups(examples).values():
        yield int(members[int(np.argmax(margins[members]))])


def _plain(text: str) -> str:
    """Lower case, no punctuation, no articles, single blanks: how SQuAD compares answers."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _token_f1(answer: str, gold: str) -> float:
    found, expected = _plain(answer).split(), _plain(gold).split()
    same = (Counter(found) & Counter(expected)).total()
    return 2.0 * same / (len(found) + len(expected)) if same else 0.0


def gender_pairs(examples: Sequence[Example], logits: Logits) -> dict[str, float]:
    """Accuracy, and gender parity: the share of pairs that differ in a pronoun alone and get the same answer.

    Pairs are the rows 2 i and 2 i + 1 of the official file.
    """
    chosen = _choices(logits)
    pairs: dict[int, list[int]] = defaultdict(list)
    for example, choice in zip(examples, chosen, strict=True):
        pairs[int(example.guid) // 2].append(int(choice))
    same = [first == second for first, second in (pair for pair in pairs.values() if len(pair) == 2)]
    parity = {"gender_parity": float(np.mean(same))} if same else {}
    return {"accuracy": _accuracy(_truth(examples), chosen), **parity}


def correlations(examples: Sequence[Example], logits: Logits) -> dict[str, float]:
    """Pearson's and Spearman's correlation with the true numbers; 0 where either side is constant."""
    truth = np.array([_known(example) for example in examples], dtype=np.float64)
    answers = logits[:, 0].astype(np.float64)
    if np.ptp(truth) == 0 or np.ptp(answers) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    statistics = require("scipy.stats", "train", "fastformers.tasks.evaluate")
    return {
        "pearson": float(statistics.pearsonr(truth, answers).statistic),
        "spearman": float(statistics.spearmanr(truth, answers).statistic),
    }


def _groups(examples: Sequence[Example]) -> dict[str, _Indices]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        members[example.group].append(index)
    return {group: np.array(indices, dtype=np.int64) for group, indices in members.items()}


def _choices(logits: Logits) -> _Indices:
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def _truth(examples: Sequence[Example]) -> _Indices:
    return np.array([_known(example) for example in examples], dtype=np.int64)


def _known(example: Example) -> int | float:
    if example.label is None:
        raise ConfigError(f"example {example.guid} has no label: only labelled examples have a score")
    return example.label
