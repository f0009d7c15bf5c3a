# SPDX-License-Identifier: MIT
"""The small models of every family and head that tests/rewriting makes, and a tokenizer for them."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures_of import fixtures_of

_MODELS = fixtures_of("rewriting")

one_torch_thread = _MODELS.one_torch_thread
family = _MODELS.family
head = _MODELS.head
make_model = _MODELS.make_model
prune = _MODELS.prune

WORDS = "the cat sat on mat dog ran because so not who bank river money good bad".split()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Knows a few words, and cuts after 24 tokens."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=24,
    )
