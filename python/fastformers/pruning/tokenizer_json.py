# SPDX-License-Identifier: MIT
"""Takes pieces out of a tokenizer, in the JSON form of the ``tokenizers`` library; known texts stay as they are.

Why the pieces of a text do not change when all of them are kept, whatever else goes:

    WordPiece   takes the longest piece that fits; without pieces that it did not take, that is the same one
    Unigram     takes the sequence of highest score; the same sequence is there, and no new one. The score of unknown
                characters hangs on the lowest score of all pieces, so that piece stays
    BPE         applies the earliest merge that fits; all that were applied for a kept piece stay, in their order

Single characters stay too, those of the pieces kept and ASCII's, so that words which were not among the texts fall into
characters and not into "unknown".
"""

from __future__ import annotations

import copy
import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastformers.errors import UnsupportedModelError

__all__ = ["Json", "cut_tokenizer"]

Json = dict[str, Any]

_ASCII = f"{string.ascii_letters}{string.digits}{string.punctuation}"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def cut_tokenizer(content: Json, used: Iterable[int]) -> tuple[Json, dict[int, int]]:
    """Keeps the pieces used, all added and special tokens, and what the module's text says.

    Args:
        content: a tokenizer's JSON; it is not changed.
        used: ids to keep.

    Returns:
        (JSON of the smaller tokenizer, new id by old id; both ascend together).

    Raises:
        UnsupportedModelError: the tokenizer's model is of a kind not known here.
    """
    cut = copy.deepcopy(content)
    model = cut["model"]
    kind = model.get("type")
    if kind not in _CUTTERS:
        raise UnsupportedModelError(
            f"a tokenizer with a {kind} model is not covered: {', '.join(_CUTTERS)} are"
        )
    added = {int(token["id"]) for token in cut.get("added_tokens", [])}
    kept, write = _CUTTERS[kind](model, set(used) | added)
    new_id = {old: new for new, old in enumerate(sorted(kept | added))}
    write(new_id)
    for token in cut.get("added_tokens", []):
        token["id"] = new_id[token["id"]]
    _renumber_processor(cut.get("post_processor"), new_id)
    if isinstance(cut.get("padding"), dict):
        cut["padding"]["pad_id"] = new_id[cut["padding"]["pad_id"]]
    return cut, new_id


_Writer = Callable[[Mapping[int, int]], None]


def _cut_words(model: Json, used: set[int]) -> tuple[set[int], _Writer]:
    """WordPiece and WordLevel: a table of pieces."""
    vocabulary: dict[str, int] = model["vocab"]
    prefix = model.get("continuing_subword_prefix") or ""
    names = {id_: piece for piece, id_ in vocabulary.items()}
    characters = {*_ASCII, *"".join(names.get(id_, "").removeprefix(prefix) for id_ in used)}
    wanted = {*characters, *(prefix + character for character in characters), model.get("unk_token")}
    kept = used | {id_ for piece, id_ in vocabulary.items() if piece in wanted}

    def write(new_id: Mapping[int, int]) -> None:
        model["vocab"] = {piece: new_id[id_] for piece, id_ in vocabulary.items() if id_ in new_id}

    return kept, write


def _cut_merges(model: Json, used: set[int]) -> tuple[set[int], _Writer]:
    """BPE: a table of pieces, and pairs that become one."""
    vocabulary: dict[str, int] = model["vocab"]
    prefix = model.get("continuing_subword_prefix") or ""
    suffix = model.get("end_of_word_suffix") or ""
    pairs = [tuple(merge.split(" ", 1) if isinstance(merge, str) else merge) for merge in model["merges"]]
    made_of: dict[str, list[tuple[str, ...]]] = {}
    for pair in pairs:
        made_of.setdefault(pair[0] + pair[1].removeprefix(prefix), []).append(pair)
    kept = {piece for piece, id_ in vocabulary.items() if id_ in used or _is_single(piece, prefix, suffix)}
    kept.add(model.get("unk_token") or "")
    left = list(kept)
    while left:
        parts = {part for pair in made_of.get(left.pop(), []) for part in pair} - kept
        kept |= parts
        left += parts

    def write(new_id: Mapping[int, int]) -> None:
        model["vocab"] = {piece: new_id[id_] for piece, id_ in vocabulary.items() if id_ in new_id}
        model["merges"] = [
            merge
            for merge, (one, other) in zip(model["merges"], pairs, strict=True)
            if {one, other, one + other.removeprefix(prefix)} <= kept
        ]

    return {id_ for piece, id_ in vocabulary.items() if piece in kept}, write


def _cut_scores(model: Json, used: set[int]) -> tuple[set[int], _Writer]:
    """Unigram: a list of pieces with scores."""
    pieces: list[list[Any]] = model["vocab"]
    characters = {*_ASCII, *"".join(pieces[id_][0] for id_ in used if id_ < len(pieces))}
    kept = used | {
        id_ for id_, (piece, _) in enumerate(pieces) if piece in characters or _BYTE.fullmatch(piece)
    }
    kept.add(min(range(len(pieces)), key=lambda id_: float(pieces[id_][1])))
    if model.get("unk_id") is not None:
        kept.add(model["unk_id"])

    def write(new_id: Mapping[int, int]) -> None:
        model["vocab"] = [entry for id_, entry in enumerate(pieces) if id_ in new_id]
        if model.get("unk_id") is not None:
            model["unk_id"] = new_id[model["unk_id"]]

    return kept, write


_CUTTERS: dict[str, Callable[[Json, set[int]], tuple[set[int], _Writer]]] = {
    "WordPiece": _cut_words,
    "WordLevel": _cut_words,
    "BPE": _cut_merges,
    "Unigram": _cut_scores,
}


def _is_single(piece: str, prefix: str, suffix: str) -> bool:
    bare = piece.removeprefix(prefix).removesuffix(suffix)
    return len(bare) <= 1 or _BYTE.fullmatch(piece) is not None


def _renumber_processor(processor: Json | None, new_id: Mapping[int, int]) -> None:
    """Writes the new ids of the tokens that a post-processor puts around a text."""
    if processor is None:
        return
    for key in ("cls", "sep"):
        if isinstance(processor.get(key), list):
            processor[key][1] = new_id[processor[key][1]]
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [new_id[id_] for id_ in token["ids"]]
    for inner in processor.get("processors") or []:
        _renumber_processor(inner, new_id)
