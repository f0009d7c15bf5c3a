# SPDX-License-Identifier: MIT
"""The bundled labelled tickets are what data/README.md says, and their reader refuses what they must not become."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from importlib import resources
from itertools import combinations

import pytest

from fastformers.benchmarking.demo_data import DemoTickets, load_demo_tickets, parse_tickets
from fastformers.errors import FormatError

_DATA = resources.files("fastformers") / "data"
_NEAR = 0.6  # share of the shorter text's word 4-grams that the longer one has too


@pytest.fixture(scope="module")
def tickets() -> DemoTickets:
    return load_demo_tickets()


@pytest.fixture(scope="module")
def texts(tickets: DemoTickets) -> list[str]:
    return [ticket.text for ticket in tickets.train + tickets.val]


def test_at_least_1560_tickets_in_16_classes(tickets: DemoTickets, texts: list[str]) -> None:
    assert len(texts) >= 1560
    assert len(tickets.labels) == 16


def test_a_quarter_of_every_class_is_for_validation(tickets: DemoTickets) -> None:
    train, val = (Counter(ticket.label for ticket in part) for part in (tickets.train, tickets.val))
    assert {label: 3 * val[label] for label in tickets.labels} == dict(train)


def test_no_class_is_much_larger_than_another(tickets: DemoTickets) -> None:
    counts = Counter(ticket.label for ticket in tickets.train)
    assert max(counts.values()) <= 1.2 * min(counts.values())


def test_the_readme_counts_every_class(tickets: DemoTickets) -> None:
    listed = re.findall(
        r"^\| `(\w+)` \|.*\| (\d+) / (\d+) \|$",
        (_DATA / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    train, val = (Counter(ticket.label for ticket in part) for part in (tickets.train, tickets.val))
    assert [(label, int(a), int(b)) for label, a, b in listed] == [
        (label, train[label], val[label]) for label in tickets.labels
    ]


def test_texts_have_5_to_120_words_with_about_30_on_average_and_a_tail(texts: list[str]) -> None:
    words = [len(text.split()) for text in texts]
    assert min(words) >= 5
    assert max(words) <= 120
    assert 25 <= sum(words) / len(words) <= 35
    assert 0.08 <= sum(count > 70 for count in words) / len(words) <= 0.15


def test_both_parts_have_the_same_mix_of_lengths(tickets: DemoTickets) -> None:
    train, val = (
        sum(len(ticket.text.split()) for ticket in part) / len(part) for part in (tickets.train, tickets.val)
    )
    assert abs(train - val) < 2


def test_texts_are_single_lines_without_addresses_or_links(texts: list[str]) -> None:
    private = re.compile(r"\n|\r|\t|https?:|www\.|\w@\w|\d{7,}")
    assert [text for text in texts if private.search(text)] == []


def test_no_text_occurs_twice(texts: list[str]) -> None:
    assert len({" ".join(_words(text)) for text in texts}) == len(texts)


def test_no_two_texts_are_near_duplicates(texts: list[str]) -> None:
    assert _near_pairs(texts) == []


def test_the_check_for_near_duplicates_finds_a_reworded_copy() -> None:
    first = "Where is the parcel that you promised to send me on Monday?"
    copy = "Hello. " + first.replace("on Monday", "last week")
    assert _near_pairs([first, copy, "Quite another text, on hats."]) == [(0, 1)]


def test_no_opening_is_shared_by_many_texts(texts: list[str]) -> None:
    openings = Counter(" ".join(_words(text)[:4]) for text in texts)
    assert max(openings.values()) <= 8


def test_neighbouring_lines_are_of_varied_classes(tickets: DemoTickets) -> None:
    first = Counter(ticket.label for ticket in tickets.train[:160])
    assert len(first) == len(tickets.labels)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "exactly the keys"),
        ('{"text": "a", "label": "b"}', "exactly the keys"),
        ('{"text": " ", "label": "b", "split": "val"}', "text must be a string"),
        ('{"text": "a", "label": 3, "split": "val"}', "label must be a string"),
        ('{"text": "a", "label": "b", "split": "test"}', 'split is "test"'),
    ],
)
def test_a_bad_line_is_named(line: str, complaint: str) -> None:
    good = json.dumps({"text": "a", "label": "b", "split": "train"})
    with pytest.raises(FormatError, match=f"some.jsonl, line 2: .*{complaint}"):
        parse_tickets(f"{good}\n{line}\n", "some.jsonl")


def test_a_class_that_cannot_be_measured_is_refused() -> None:
    with pytest.raises(FormatError, match="no val line of class b"):
        parse_tickets(json.dumps({"text": "a", "label": "b", "split": "train"}), "some.jsonl")


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(FormatError, match="no train line"):
        parse_tickets("", "some.jsonl")


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _four_grams(text: str) -> set[tuple[str, ...]]:
    """All runs of four words; of a text with fewer, the whole of it."""
    words = _words(text)
    return {tuple(words[start : start + 4]) for start in range(max(1, len(words) - 3))}


def _near_pairs(texts: Iterable[str]) -> list[tuple[int, int]]:
    grams = [_four_grams(text) for text in texts]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, own in enumerate(grams):
        for gram in own:
            holders[gram].append(number)
    shared = Counter(pair for numbers in holders.values() for pair in combinations(numbers, 2))
    return [(a, b) for (a, b), count in shared.items() if count > _NEAR * min(len(grams[a]), len(grams[b]))]
