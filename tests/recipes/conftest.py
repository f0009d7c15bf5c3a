# SPDX-License-Identifier: MIT
"""A tiny checkpoint and a task of a user's own that it can learn, for recipes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

WORDS = "the cat sat on mat dog ran because so not who bank river money".split()
LABELS = ("bad", "good")


def write_rows(path: Path, count: int, seed: int) -> None:
    choose = random.Random(seed)
    lines = []
    for _ in range(count):
        label = choose.choice(LABELS)
        words = [*choose.choices(WORDS, k=choose.randrange(2, 9)), label]
        choose.shuffle(words)
        lines.append(json.dumps({"text": " ".join(words), "label": label}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl and val.jsonl: the word "bad" or "good" decides."""
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder / "train.jsonl", 96, seed=1)
    write_rows(folder / "val.jsonl", 40, seed=2)
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 4 x 64 without a head and its tokenizer, as transformers saves them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *LABELS]
    core = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=32,
    )
    folder = tmp_path_factory.mktemp("tiny")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
