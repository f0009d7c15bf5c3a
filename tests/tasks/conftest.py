# SPDX-License-Identifier: MIT
"""Two small tokenizers, a tiny encoder checkpoint, and folders with data files written on the spot."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_checkpoint, word_pieces

WORDS = "the cat sat on mat dog ran because so not good bad what who bank river money".split()


def wordpiece() -> Any:
    """BERT's way: lower case, accents taken off, words cut into pieces; one token a letter outside the vocabulary."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    words = [*WORDS, *letters, *(f"##{letter}" for letter in letters)]
    return word_pieces(list(dict.fromkeys(words)), lower_case=True)


def byte_level() -> Any:
    """RoBERTa's way: one token a byte here, blanks belong to the word after them, no token types."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE({token: index for index, token in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return wordpiece()


@pytest.fixture(scope="session", params=[wordpiece, byte_level], ids=["wordpiece", "byte-level"])
def any_tokenizer(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A tiny BERT without a head, as transformers saves it."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"), tokenizer, max_position_embeddings=128)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """``write("BoolQ/train.jsonl", rows)`` writes objects as lines, or a text as it is, and returns the root folder."""

    def write_file(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_text("".join(f"{json.dumps(row)}\n" for row in content), encoding="utf-8")
        return tmp_path

    return write_file
