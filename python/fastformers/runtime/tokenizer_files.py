# SPDX-License-Identifier: MIT
"""The tokenizer's part of an artefact: which of its files are kept, and what its settings say.

Only data is kept: ``tokenizer.json`` holds all of a fast tokenizer. A tokenizer that needs code of its own is refused,
when it is saved and when it is loaded.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import FormatError, UnsupportedModelError
from fastformers.runtime.encoder_manifest import Tokenization
from fastformers.tokenization import SPLIT_SPECIAL_TOKENS, splits_special_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "TOKENIZER",
    "TOKENIZER_CONFIG",
    "asks_for_code",
    "check_no_code",
    "open_tokenizer",
    "tokenization_of",
    "write_tokenizer",
]

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"

_KEPT = (TOKENIZER, TOKENIZER_CONFIG, "special_tokens_map.json")
#: Keys of transformers' JSON files that name code to run.
_CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "trust_remote_code"})


def asks_for_code(content: Mapping[str, Any]) -> bool:
    """Whether a JSON file of transformers asks for code that comes with the model."""
    return any(content.get(key) for key in _CODE_KEYS)


def check_no_code(content: Mapping[str, Any], name: str) -> None:
    """Refuses a file that asks for code.

    Raises:
        FormatError: it does.
    """
    if asks_for_code(content):
        raise FormatError(f"{name} asks for code that comes with the model; such code is never run")


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Writes a tokenizer's data into a folder.

    Args:
        tokenizer: of transformers, or a :class:`tokenizers.Tokenizer`.
        folder: where to.

    Raises:
        UnsupportedModelError: it is no tokenizer, needs code of its own, or has no fast version.
    """
    if not (hasattr(tokenizer, "save_pretrained") or hasattr(tokenizer, "to_str")):
        raise UnsupportedModelError(
            f"tokenizer is {type(tokenizer).__name__}, which is no tokenizer of transformers or tokenizers: pass "
            "AutoTokenizer.from_pretrained(folder)"
        )
    if not hasattr(tokenizer, "save_pretrained"):
        (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
        if splits_special_tokens(tokenizer):
            (folder / TOKENIZER_CONFIG).write_text(json.dumps({SPLIT_SPECIAL_TOKENS: True}), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        for name in _KEPT:
            if (Path(scratch) / name).is_file():
                shutil.copyfile(Path(scratch) / name, folder / name)
    if not (folder / TOKENIZER).is_file():
        raise UnsupportedModelError(
            f"{type(tokenizer).__name__} writes no {TOKENIZER}: load the tokenizer with use_fast=True and save again"
        )
    config = folder / TOKENIZER_CONFIG
    if config.is_file() and asks_for_code(json.loads(config.read_text(encoding="utf-8"))):
        raise UnsupportedModelError(
            f"{type(tokenizer).__name__} needs code of its own (auto_map), which an artefact never holds"
        )


def open_tokenizer(content: bytes, tokenization: Tokenization) -> Tokenizer:
    """Builds the tokenizer of a ``tokenizer.json``: no padding, texts cut as the settings say.

    Args:
        content: of the file; read with suspicion by the tokenizers package.
        tokenization: the settings.

    Raises:
        FormatError: it is no tokenizer of a kind that the package knows, or cuts texts before its special tokens.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        strategy = (tokenizer.truncation or {}).get("strategy", "longest_first")
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = tokenization.split_special_tokens
        tokenizer.enable_truncation(
            tokenization.max_length, strategy=strategy, direction=tokenization.truncation_side
        )
    except BaseException as error:
        if (
            not isinstance(error, Exception) and type(error).__name__ != "PanicException"
        ):  # Rust's, a BaseException
            raise
        raise FormatError(f"{TOKENIZER} is refused by tokenizers: {error}") from error
    special = int(tokenizer.num_special_tokens_to_add(True))
    if tokenization.max_length < special:
        raise FormatError(
            f"texts are cut at {tokenization.max_length} tokens, and {TOKENIZER} adds {special} special ones to a pair"
        )
    return tokenizer


def tokenization_of(tokenizer: Any, plan: EncoderPlan) -> Tokenization:
    """Reads the settings of a tokenizer, of transformers or a :class:`tokenizers.Tokenizer`; the plan bounds them."""
    own = getattr(tokenizer, "truncation", None) or {}
    side = getattr(tokenizer, "truncation_side", own.get("direction", "right"))
    longest = getattr(tokenizer, "model_max_length", own.get("max_length", plan.max_tokens))
    inputs = getattr(tokenizer, "model_input_names", ["token_type_ids"])
    return Tokenization(
        max_length=max(1, int(min(longest, plan.max_tokens))),
        truncation_side="left" if side == "left" else "right",
        token_types="token_type_ids" in inputs and plan.types > 0,
        split_special_tokens=splits_special_tokens(tokenizer),
    )
