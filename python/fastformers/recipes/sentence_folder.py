# SPDX-License-Identifier: MIT
"""What a folder of sentence-transformers says beside its model: how rows become one embedding, and how texts are cut.

``modules.json`` lists the steps after the encoder. Without them an encoder puts out rows of tokens, which is not what
the folder's users mean by its embedding. Read as plain JSON; sentence-transformers is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastformers.config import CompileConfig, Pooling
from fastformers.errors import FormatError, UnsupportedModelError
from fastformers.files.fields import MANIFEST, short
from fastformers.files.strict_json import parse_json

__all__ = [
    "SentenceSteps",
    "cut_as_folder_says",
    "cut_note",
    "is_sentence_folder",
    "left_pooling_note",
    "with_folder_pooling",
]

_MODULES = "modules.json"
_TRANSFORMER_FILE = "sentence_bert_config.json"
_MODEL_FILE = "config_sentence_transformers.json"
_COVERED: dict[str, Pooling] = {"mean": "mean", "cls": "first"}
#: How files named each pooling before there was ``pooling_mode``.
_OLDER_NAMES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class SentenceSteps:
    """How a folder makes a sentence embedding of its encoder's rows.

    Attributes:
        pooling: as in :class:`fastformers.CompileConfig`.
        normalize: whether embeddings are divided by their length.
    """

    pooling: Pooling
    normalize: bool

    def __str__(self) -> str:
        """Returns the words of a note."""
        return f"pooling {self.pooling!r}, {'' if self.normalize else 'not '}normalised"


def is_sentence_folder(folder: Path) -> bool:
    """Whether a folder is of sentence-transformers and pools rows; cross-encoders do not.

    Raises:
        FormatError: ``modules.json`` is damaged.
    """
    return "Pooling" in [kind for kind, _ in _modules(folder)]


def with_folder_pooling(folder: Path, config: CompileConfig | None) -> tuple[CompileConfig, tuple[str, ...]]:
    """Takes pooling and normalisation from a folder of sentence-transformers where the configuration names none.

    Args:
        folder: of any model.
        config: as it was asked for; its own pooling goes before the folder's.

    Returns:
        The configuration to compile by, and what the user should know.

    Raises:
        UnsupportedModelError: the folder's embedding is made by steps that are not covered; names them.
        FormatError: a file of the folder is damaged.

    Example:
        >>> with_folder_pooling(Path("all-MiniLM-L6-v2"), None)[0].pooling  # doctest: +SKIP
        'mean'
    """
    asked = config or CompileConfig()
    if not is_sentence_folder(folder):
        return asked, ()
    others = (*_prompt_note(folder), *_case_note(folder))
    if asked.pooling is not None:
        chosen = SentenceSteps(asked.pooling, asked.normalize)
        return asked, (f"{chosen}, as asked for; {_MODULES} of the folder was not looked at", *others)
    found = _steps(folder)
    by_folder = replace(asked, pooling=found.pooling, normalize=found.normalize)
    return by_folder, (f"{found}, as {_MODULES} of the folder says", *others)


def left_pooling_note(folder: Path) -> tuple[str, ...]:
    """Says that a copy of the folder's encoder puts out rows, where the folder's users expect embeddings."""
    if not is_sentence_folder(folder):
        return ()
    return (
        f"{_MODULES} of the folder is not carried along: the model puts out a row for each token, pooling is yours; "
        "`fastformers compile` makes the folder's embeddings",
    )


def cut_as_folder_says(folder: Path, tokenizer: Any) -> None:
    """Lowers a tokenizer's limit to the one that sentence-transformers would cut texts at."""
    longest = _content(folder, _TRANSFORMER_FILE).get("max_seq_length")
    if isinstance(longest, int) and 0 < longest < tokenizer.model_max_length:
        tokenizer.model_max_length = longest


def cut_note(folder: Path) -> tuple[str, ...]:
    """Says where the folder's texts are cut, to who saves its encoder with a tokenizer that was opened elsewhere."""
    longest = (
        _content(folder, _TRANSFORMER_FILE).get("max_seq_length") if is_sentence_folder(folder) else None
    )
    if not isinstance(longest, int):
        return ()
    return (
        f"the folder's texts are cut at {longest} tokens: set tokenizer.model_max_length = {longest} before it is "
        "saved with the encoder",
    )


def _steps(folder: Path) -> SentenceSteps:
    modules = _modules(folder)
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnsupportedModelError(
            f"{folder} makes its embedding by {', '.join(kinds)}: only Pooling and Normalize after the Transformer are "
            'covered. Choose a pooling yourself (--pooling, CompileConfig(pooling="mean")) to leave the others to you'
        )
    pooling = _content(folder, f"{modules[1][1]}/config.json")
    modes = pooling.get("pooling_mode", [name for key, name in _OLDER_NAMES.items() if pooling.get(key)])
    modes = [modes] if isinstance(modes, str) else modes or ["mean"]
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in _COVERED:
        raise UnsupportedModelError(
            f"{folder} pools by {short(modes)}: only {' or '.join(_COVERED)} is covered. Choose one yourself "
            '(--pooling, CompileConfig(pooling="mean")) if that will do'
        )
    return SentenceSteps(_COVERED[modes[0]], "Normalize" in kinds)


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Class and folder of each module, in order; none where the folder is not of sentence-transformers."""
    path = folder / _MODULES
    if (folder / MANIFEST).exists() or not path.exists():
        return []
    # The file holds a list, and the parser takes objects only.
    entries = parse_json(b'{"modules":' + _bytes(path) + b"}", str(path)).get("modules")
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise FormatError(f"{path} must hold a list of objects")
    return [(str(entry.get("type")).rsplit(".", 1)[-1], str(entry.get("path"))) for entry in entries]


def _prompt_note(folder: Path) -> tuple[str, ...]:
    content = _content(folder, _MODEL_FILE)
    prompts, name = content.get("prompts"), content.get("default_prompt_name")
    prompt = prompts.get(name) if isinstance(prompts, Mapping) and name else None
    return (
        (f"the folder's prompt {short(prompt)} is not put before texts: do that yourself",) if prompt else ()
    )


def _case_note(folder: Path) -> tuple[str, ...]:
    if _content(folder, _TRANSFORMER_FILE).get("do_lower_case") is not True:
        return ()
    return ("the folder's texts are lower-cased before they are tokenized: do that yourself",)


def _content(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    return parse_json(_bytes(path), str(path)) if path.exists() else {}


def _bytes(path: Path) -> bytes:
    """A file's content; it may be a link, as all files in the cache of a hub are."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
