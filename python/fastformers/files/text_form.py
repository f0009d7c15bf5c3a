# SPDX-License-Identifier: MIT
"""Whether a model learned from single texts or from pairs, and the refusal of others.

A model answers either, and its answer to a text in the form that it did not learn means nothing and looks as good.
Apart from the rest of ``task.json``, since compiled models answer without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fastformers.errors import ConfigError, FormatError
from fastformers.files.fields import short
from fastformers.files.strict_json import read_json

__all__ = ["PAIRS", "TASK_FILE", "check_form", "learned_pairs", "pairs_field"]

#: What a model answers; the file is read and written by ``tasks.task_file``.
TASK_FILE: Final = "task.json"
#: Its field: true for pairs, false for single texts, null where that is not known or it was both.
PAIRS: Final = "pairs"


def learned_pairs(folder: Path) -> bool | None:
    """Returns whether the model of a folder learned from pairs; ``None`` where its folder does not say it.

    Raises:
        FormatError: the file is damaged.
    """
    path = folder / TASK_FILE
    return pairs_field(read_json(path)) if path.exists() else None


def pairs_field(content: Mapping[str, Any]) -> bool | None:
    """Returns the field of the file's content; files of earlier versions do not have it.

    Raises:
        FormatError: it is something else.
    """
    found = content.get(PAIRS)
    if found is not None and not isinstance(found, bool):
        raise FormatError(f"{TASK_FILE}: {PAIRS} is {short(found)}, must be true, false or null")
    return found


def check_form(learned: bool | None, given: Sequence[bool]) -> None:
    """Checks that texts come in the form that a model learned.

    Args:
        learned: whether it learned from pairs; ``None`` takes both.
        given: whether each text is a pair.

    Raises:
        ConfigError: names the first one that is not.
    """
    if learned is None or (not learned) not in given:
        return
    place = list(given).index(not learned)
    if learned:
        raise ConfigError(
            f"the model learned from pairs of texts, and text {place} has no second one (text_pair; --pair TEXT)"
        )
    raise ConfigError(
        f"the model learned from single texts, and text {place} is a pair: leave the second one (text_pair) out"
    )
