# SPDX-License-Identifier: MIT
"""Reads the labelled tickets that come with the package, so that the demo can train models and count right answers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from typing import Any

from fastformers.errors import FormatError

__all__ = ["DemoTickets", "Ticket", "load_demo_tickets", "parse_tickets"]

_FILE = "demo_tickets.jsonl"
_KEYS = ("text", "label", "split")
_SPLITS = ("train", "val")


@dataclass(frozen=True)
class Ticket:
    """One message and what it asks for.

    Attributes:
        text: the message, in one line.
        label: name of its class: the main request.
    """

    text: str
    label: str


@dataclass(frozen=True)
class DemoTickets:
    """A labelled classification set: what customers write to an online shop.

    Attributes:
        train: messages to learn from, classes interleaved.
        val: messages to measure with; none lies near one of ``train``.
        labels: names of the classes, sorted; every one occurs in both parts.
    """

    train: tuple[Ticket, ...]
    val: tuple[Ticket, ...]
    labels: tuple[str, ...]


def load_demo_tickets() -> DemoTickets:
    """Returns the tickets that come with the package; ``data/README.md`` describes them.

    Raises:
        FormatError: the file of the installed package has been altered.

    Example:
        >>> tickets = load_demo_tickets()
        >>> len(tickets.labels)
        16
    """
    file = resources.files("fastformers") / "data" / _FILE
    return parse_tickets(file.read_text(encoding="utf-8"), _FILE)


def parse_tickets(content: str, source: str) -> DemoTickets:
    """Reads tickets, one JSON object a line: ``{"text", "label", "split": "train" | "val"}``.

    Args:
        content: the lines.
        source: how errors call the file.

    Raises:
        FormatError: a line isn't such an object, or a class is absent from one of the parts.
    """
    parts: dict[str, list[Ticket]] = {split: [] for split in _SPLITS}
    for number, line in enumerate(content.split("\n"), start=1):
        if line:
            fields = _fields(line, f"{source}, line {number}")
            parts[fields["split"]].append(Ticket(fields["text"], fields["label"]))
    counts = {split: Counter(ticket.label for ticket in tickets) for split, tickets in parts.items()}
    labels = sorted(set().union(*counts.values()))
    for split, count in counts.items():
        absent = [label for label in labels if label not in count]
        if absent or not labels:
            raise FormatError(
                f"{source}: no {split} line of class {', '.join(absent) or 'any name'}; add some"
            )
    return DemoTickets(tuple(parts["train"]), tuple(parts["val"]), tuple(labels))


def _fields(line: str, place: str) -> dict[str, str]:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(f"{place}: not JSON ({error}); write one object a line") from error
    if not isinstance(row, dict) or sorted(row) != sorted(_KEYS):
        raise FormatError(f"{place}: expected an object with exactly the keys {', '.join(_KEYS)}")
    for key in _KEYS:
        if not isinstance(row[key], str) or not row[key].strip():
            raise FormatError(f"{place}: {key} must be a string that isn't empty")
    if row["split"] not in _SPLITS:
        raise FormatError(f'{place}: split is "{row["split"]}"; it must be one of {", ".join(_SPLITS)}')
    return {key: row[key] for key in _KEYS}
