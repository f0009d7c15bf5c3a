# SPDX-License-Identifier: MIT
"""A small model folder with a tokenizer, for verbs that take one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch_threads

one_torch_thread = torch_threads.one_torch_thread

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "a", "mat", "red", "blue", "house", "and", "then", "slept"]


@pytest.fixture(scope="session")
def example_texts() -> list[str]:
    """Sentences of words that the small model knows."""
    return [
        f"the {WORDS[i % 14]} {WORDS[(i * 5 + 1) % 14]} on a {WORDS[(i * 3 + 2) % 14]}" for i in range(24)
    ]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with random weights and a tokenizer of a few words, as transformers saves them."""
    torch = pytest.importorskip("torch", reason="models need the torch extra")
    transformers = pytest.importorskip("transformers", reason="models need the torch extra")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    folder = tmp_path_factory.mktemp("model")
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=32,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture
def texts(tmp_path: Path, example_texts: list[str]) -> Path:
    """The sentences as a file, with blank lines between."""
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(example_texts), encoding="utf-8")
    return path
