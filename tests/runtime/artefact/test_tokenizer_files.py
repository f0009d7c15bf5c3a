# SPDX-License-Identifier: MIT
"""A tokenizer is stored as data with its limits; one that needs code, or is none, is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import ConfigError, FormatError, UnsupportedModelError
from fastformers.runtime.artefact import load_artefact
from fastformers.runtime.artefact_folder import save_artefact
from fastformers.runtime.encoder_manifest import Tokenization
from fastformers.runtime.tokenizer_files import open_tokenizer, tokenization_of

SETTINGS = Tokenization(max_length=5, truncation_side="right", token_types=True)


@pytest.fixture
def of_transformers(tokenizer: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        model_max_length=12,
        truncation_side="left",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def test_a_tokenizer_of_transformers_keeps_its_settings(
    tmp_path: Path, plan: EncoderPlan, make_tensors: Any, of_transformers: Any
) -> None:
    save_artefact(tmp_path / "x", plan, make_tensors(plan), config={}, tokenizer=of_transformers)
    loaded = load_artefact(tmp_path / "x")
    assert loaded.tokenization == Tokenization(max_length=12, truncation_side="left", token_types=True)
    assert loaded.max_length == 12
    assert (tmp_path / "x" / "tokenizer_config.json").is_file()
    text = "the " * 20 + "cat sat"
    assert loaded.tokenizer().encode(text).ids == of_transformers(text, truncation=True)["input_ids"]


def test_the_plan_bounds_the_length(plan: EncoderPlan, make_plan: Any, of_transformers: Any) -> None:
    of_transformers.model_max_length = 10**30  # what transformers says when nothing is known
    assert tokenization_of(of_transformers, plan).max_length == plan.max_tokens
    of_transformers.model_input_names = ["input_ids", "attention_mask"]
    assert not tokenization_of(of_transformers, plan).token_types
    assert not tokenization_of(object(), make_plan(types=0)).token_types


def test_a_tokenizer_of_tokenizers_keeps_its_settings(plan: EncoderPlan, tokenizer: Any) -> None:
    from tokenizers import Tokenizer

    own = Tokenizer.from_str(tokenizer.to_str())
    own.enable_truncation(7, direction="left")
    assert tokenization_of(own, plan) == Tokenization(max_length=7, truncation_side="left", token_types=True)


def test_special_tokens_in_texts_stay_text_when_the_tokenizer_says_so(
    tmp_path: Path, plan: EncoderPlan, make_tensors: Any, tokenizer: Any
) -> None:
    from tokenizers import Tokenizer

    own = Tokenizer.from_str(tokenizer.to_str())
    own.add_special_tokens(["[UNK]", "cat"])
    own.encode_special_tokens = True  # tokenizer.json does not say it
    save_artefact(tmp_path / "x", plan, make_tensors(plan), config={}, tokenizer=own)
    loaded = load_artefact(tmp_path / "x")
    assert loaded.tokenization is not None
    assert loaded.tokenization.split_special_tokens
    assert loaded.tokenizer().encode("thecat").ids == own.encode("thecat").ids
    own.encode_special_tokens = False
    assert loaded.tokenizer().encode("thecat").ids != own.encode("thecat").ids
    assert json.loads((tmp_path / "x" / "tokenizer_config.json").read_text()) == {
        "split_special_tokens": True
    }


def test_padding_stored_in_the_file_is_not_applied(tokenizer: Any) -> None:
    from tokenizers import Tokenizer

    own = Tokenizer.from_str(tokenizer.to_str())
    own.enable_padding(length=1 << 20)
    assert open_tokenizer(own.to_str().encode(), SETTINGS).encode("the cat").ids == [1, 2]
    assert open_tokenizer(own.to_str().encode(), SETTINGS).encode("the cat " * 9).ids == [1, 2, 1, 2, 1]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[]", b'{"model": {"type": "Pickle"}}'])
def test_what_is_no_tokenizer_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError, match=r"tokenizer.json is refused"):
        open_tokenizer(content, SETTINGS)


def test_an_artefact_without_a_tokenizer_says_so(
    tmp_path: Path, plan: EncoderPlan, make_tensors: Any
) -> None:
    save_artefact(tmp_path / "x", plan, make_tensors(plan), config={})
    loaded = load_artefact(tmp_path / "x")
    assert loaded.max_length == plan.max_tokens
    with pytest.raises(ConfigError, match="saved without a tokenizer"):
        loaded.tokenizer()


class Writes:
    """A tokenizer that writes given files."""

    def __init__(self, **files: Any) -> None:
        self.files = files

    def save_pretrained(self, folder: str) -> None:
        for name, content in self.files.items():
            (Path(folder) / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("tokenizer_like", "words"),
    [
        (Writes(vocab={}), "writes no tokenizer.json: load the tokenizer with use_fast=True"),
        (
            Writes(tokenizer={}, tokenizer_config={"auto_map": {"AutoTokenizer": "x.Y"}}),
            "needs code of its own",
        ),
    ],
)
def test_a_tokenizer_that_is_no_data_is_not_saved(
    tmp_path: Path, plan: EncoderPlan, make_tensors: Any, tokenizer_like: Any, words: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        save_artefact(tmp_path / "x", plan, make_tensors(plan), config={}, tokenizer=tokenizer_like)
    assert not any(tmp_path.iterdir())


def test_only_known_files_are_kept(tmp_path: Path, plan: EncoderPlan, make_tensors: Any) -> None:
    writes = Writes(tokenizer={}, special_tokens_map={}, tokenization_code={})
    save_artefact(tmp_path / "x", plan, make_tensors(plan), config={"auto_map": {"a": "b"}}, tokenizer=writes)
    names = {file.name for file in (tmp_path / "x").iterdir()}
    assert {"tokenizer.json", "special_tokens_map.json"} <= names
    assert "tokenization_code.json" not in names
    assert "auto_map" not in json.loads((tmp_path / "x" / "config.json").read_text())


def test_a_limit_below_the_special_tokens_is_refused(of_transformers: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    core = of_transformers.backend_tokenizer
    core.post_processor = TemplateProcessing("[UNK] $A", "[UNK] $A [UNK] $B", [("[UNK]", 0)])
    content = core.to_str().encode("utf-8")
    assert open_tokenizer(content, SETTINGS).num_special_tokens_to_add(True) == 2
    with pytest.raises(FormatError, match=r"cut at 1 tokens, and tokenizer\.json adds 2 special ones"):
        open_tokenizer(content, replace(SETTINGS, max_length=1))
