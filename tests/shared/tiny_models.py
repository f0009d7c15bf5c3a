# SPDX-License-Identifier: MIT
"""A tokenizer of a few words and a checkpoint of a few weights, for the tests of several rooms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def word_pieces(words: Sequence[str], *, lower_case: bool = False) -> Any:
    """BERT's tokenizer of transformers that knows these words, after the special ones; frames texts and pairs.

    Args:
        words: its vocabulary; ``##`` begins a piece that continues a word.
        lower_case: also lower case and no accents, as BERT's uncased models.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *words])}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    if lower_case:
        core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def save_checkpoint(folder: Path, tokenizer: Any, **sizes: Any) -> Path:
    """Saves a random BERT without a head, always the same, and its tokenizer, as transformers does.

    Args:
        folder: where to.
        tokenizer: of transformers.
        sizes: of ``BertConfig``; small by default.
    """
    import torch
    from transformers import BertConfig, BertModel

    small = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(**{**small, **sizes})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
