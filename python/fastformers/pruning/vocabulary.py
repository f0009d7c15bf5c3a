# SPDX-License-Identifier: MIT
"""``prune_vocabulary_``: fewer rows in the table of words, and the tokenizer that belongs to them.

In small students the table of words is most of the model: 30,522 x 384 numbers are half of a 6-layer MiniLM, and a
multilingual vocabulary is ten times as large. A task's texts use a fraction of it.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules.encoder_names import EncoderParts, parts_of
from fastformers.pruning.layers import own_config
from fastformers.pruning.tokenizer_json import Json, cut_tokenizer

__all__ = ["Text", "prune_vocabulary_"]

Text = str | tuple[str, str]

_TOKENIZER = "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_SIDES = ("padding_side", "truncation_side")
_CHUNK = 1024


def prune_vocabulary_(model: nn.Module, tokenizer: Any, texts: Iterable[Text], *, min_count: int = 1) -> Any:
    """Removes the word pieces that texts do not use from a model, in place, and makes the tokenizer that goes with it.

    Pieces keep their order. Special and added tokens stay, and single characters (ASCII's and those of the texts), so
    that other texts are still cut into known pieces. On the texts given the new tokenizer makes the same pieces, which
    is checked, and the model's answers stay the same; with ``min_count`` above 1 on those texts whose pieces all
    stayed.

    Args:
        model: a transformers encoder of a known family, bare or with a head that is not over the vocabulary, or a span
            classifier.
        tokenizer: its fast tokenizer, of WordPiece, BPE, Unigram or whole words; it is not changed.
        texts: texts like those that will come, or pairs of them; the more the better.
        min_count: how often a piece must occur.

    Returns:
        The new tokenizer, of the same class.

    Raises:
        ConfigError: there are no texts, one is neither text nor pair, ``min_count`` is less than 1, or the tokenizer
            is not the model's. The model is as before, whatever is raised.
        UnsupportedModelError: the family, the head or the kind of tokenizer is not covered.

    Example:
        >>> tokenizer = ff.prune_vocabulary_(model, tokenizer, texts)  # doctest: +SKIP
    """
    parts = parts_of(model)
    if isinstance(texts, str):
        raise ConfigError("texts is one text, must be a list of texts, or of pairs of them")
    given = list(texts)
    _check(model, parts, tokenizer, given, min_count)
    counts = Counter(id_ for ids in _encoded(tokenizer, given) for id_ in ids)
    used = {id_ for id_, count in counts.items() if count >= min_count} | _fixed_ids(parts)
    cut, new_id = cut_tokenizer(json.loads(tokenizer.backend_tokenizer.to_str()), used)
    rows = _words(parts).num_embeddings
    if max(new_id) >= rows:
        raise ConfigError(
            f"the tokenizer has the id {max(new_id)} and the model {rows} words: it is not this model's"
        )
    smaller = _rebuilt(tokenizer, cut, new_id)
    _check_same_pieces(tokenizer, smaller, given, new_id)
    _keep_words_(model, parts, new_id)
    return smaller


def _check(model: Any, parts: EncoderParts, tokenizer: Any, texts: Sequence[Text], min_count: int) -> None:
    if isinstance(min_count, bool) or not isinstance(min_count, int) or min_count < 1:
        raise ConfigError(f"min_count is {min_count!r}, must be a whole number from 1")
    if not texts:
        raise ConfigError("there are no texts: the vocabulary keeps the pieces of the texts given")
    wrong = next((place for place, text in enumerate(texts) if not _is_text(text)), None)
    if wrong is not None:
        raise ConfigError(f"texts[{wrong}] is {texts[wrong]!r}, must be a text or a pair of texts")
    if not getattr(tokenizer, "is_fast", False):
        raise UnsupportedModelError(
            f"{type(tokenizer).__name__} is no fast tokenizer: only those are covered"
        )
    words = _words(parts)
    over_words = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight is words.weight
    ]
    output = getattr(model, "get_output_embeddings", lambda: None)()
    if over_words or output is not None:
        raise UnsupportedModelError(
            f"{type(model).__name__} has a head over the vocabulary, which is not covered: prune the encoder or a "
            "model with another head"
        )


def _is_text(text: object) -> bool:
    is_pair = isinstance(text, tuple | list) and len(text) == 2 and all(isinstance(one, str) for one in text)
    return isinstance(text, str) or is_pair


def _words(parts: EncoderParts) -> nn.Embedding:
    words = parts.encoder.get_submodule(parts.names.embeddings.word)
    if type(words) is not nn.Embedding:
        raise UnsupportedModelError(f"the table of words is {type(words).__name__}, not nn.Embedding")
    return words


def _fixed_ids(parts: EncoderParts) -> set[int]:
    """Ids that may not move: where positions are counted from the padding id on (RoBERTa, MPNet), those up to it."""
    holder, _, _ = parts.names.embeddings.word.rpartition(".")
    first = getattr(parts.encoder.get_submodule(holder), "padding_idx", None)
    return set(range(first + 1)) if isinstance(first, int) else set()


def _encoded(tokenizer: Any, texts: Sequence[Text]) -> Iterator[list[int]]:
    """Ids of each text; texts and pairs may be mixed."""
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        for kind in (str, tuple):
            some = [
                text if kind is str else tuple(text)
                for text in chunk
                if isinstance(text, str) == (kind is str)
            ]
            if some:
                yield from tokenizer(some, truncation=False, padding=False, verbose=False)["input_ids"]


def _rebuilt(tokenizer: Any, content: Json, new_id: Mapping[int, int]) -> Any:
    """A tokenizer of the same class and settings, as it would be loaded from a folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tokenizer.save_pretrained(place)
        for file in folder.iterdir():
            if file.name not in (_TOKENIZER, _TOKENIZER_CONFIG, "special_tokens_map.json"):
                file.unlink()
        (folder / _TOKENIZER).write_text(json.dumps(content), encoding="utf-8")
        settings = json.loads((folder / _TOKENIZER_CONFIG).read_text(encoding="utf-8"))
        if "added_tokens_decoder" in settings:
            added = settings["added_tokens_decoder"]
            settings["added_tokens_decoder"] = {str(new_id[int(id_)]): token for id_, token in added.items()}
            (folder / _TOKENIZER_CONFIG).write_text(json.dumps(settings), encoding="utf-8")
        sides = {name: getattr(tokenizer, name) for name in _SIDES}  # set on an object they are in no file
        return type(tokenizer).from_pretrained(place, local_files_only=True, **sides)


def _check_same_pieces(before: Any, after: Any, texts: Sequence[Text], new_id: Mapping[int, int]) -> None:
    if len(after) != len(new_id):
        raise UnsupportedModelError(
            f"{type(after).__name__} makes {len(after)} pieces of the {len(new_id)} kept: it is not covered"
        )
    for old, new in zip(_encoded(before, texts), _encoded(after, texts), strict=True):
        if all(id_ in new_id for id_ in old) and [new_id[id_] for id_ in old] != new:
            raise UnsupportedModelError(
                f"{type(after).__name__} with fewer pieces cuts a text differently: {before.decode(old)[:60]!r}"
            )


def _keep_words_(model: nn.Module, parts: EncoderParts, new_id: Mapping[int, int]) -> None:
    words = _words(parts)
    rows = torch.tensor(sorted(new_id), device=words.weight.device)
    taken = words.weight.detach().index_select(0, rows)
    words.weight = nn.Parameter(taken, requires_grad=words.weight.requires_grad)
    words.num_embeddings = len(rows)
    if words.padding_idx is not None:
        words.padding_idx = new_id.get(words.padding_idx)
    config = own_config(model)
    _renumber_config(config, new_id)
    config.vocab_size = len(rows)


def _renumber_config(config: Any, new_id: Mapping[int, int]) -> None:
    """Writes the new ids of special tokens; of those that the tokenizer does not have, None."""
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new_id.get(value))
        elif name.endswith("_token_id") and isinstance(value, list):
            setattr(config, name, [new_id[id_] for id_ in value if id_ in new_id])
