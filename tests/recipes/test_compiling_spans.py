# SPDX-License-Identifier: MIT
"""A span classifier compiles to what it computes, whatever the padding, and comes back from its artefact."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import fastformers as ff
from fastformers.errors import ConfigError, DtypeError, FormatError, ShapeError, UnsupportedModelError
from fastformers.modules.span_classifier import SpanClassifier

FLOAT = ff.CompileConfig(int8=None)
IDS = torch.tensor([[2, 5, 6, 7, 8, 9, 3], [2, 10, 11, 12, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]])
SPANS = torch.tensor([[[1, 3], [4, 5]], [[2, 3], [1, 4]]])


def classifier(fill: Any = "-inf", family: str = "Bert") -> SpanClassifier:
    import transformers

    torch.manual_seed(0)
    sizes = {
        "vocab_size": 60,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "max_position_embeddings": 32,
    }
    config = getattr(transformers, f"{family}Config")(**sizes, pad_token_id=0)
    model = SpanClassifier(transformers.AutoModel.from_config(config), 2, 3, dropout=0.1, fill=fill)
    torch.nn.init.normal_(model.classifier.bias)
    return model.eval()


def logits(model: Any, rows: slice = slice(None), **changes: Any) -> torch.Tensor:
    inputs = {"input_ids": IDS[rows], "attention_mask": MASK[rows], "spans": SPANS[rows], **changes}
    with torch.no_grad():
        found: torch.Tensor = model(**inputs).logits
    return found


@pytest.mark.parametrize("fill", ["-inf", "zero"])
@pytest.mark.parametrize("family", ["Bert", "Roberta", "MPNet", "Electra"])
def test_a_float_compiled_span_classifier_is_the_model(fill: str, family: str) -> None:
    model = classifier(fill, family)
    fast = ff.compile(model, FLOAT)
    assert type(fast(input_ids=IDS, attention_mask=MASK, spans=SPANS)) is type(
        model(input_ids=IDS, attention_mask=MASK, spans=SPANS)
    )
    # Two ways of summing the same float32 products: 1.2e-7 of logits up to 2.7 when measured.
    torch.testing.assert_close(logits(fast), logits(model), rtol=0, atol=1e-5)


def test_texts_do_not_see_their_batch_mates_nor_the_side_of_the_padding() -> None:
    fast = ff.compile(classifier(), FLOAT)
    alone = logits(fast, slice(1, 2), input_ids=IDS[1:, :5], attention_mask=MASK[1:, :5])
    assert torch.equal(logits(fast)[1:], alone)
    left = logits(
        fast, slice(1, 2), input_ids=IDS[1:].roll(2), attention_mask=MASK[1:].roll(2), spans=SPANS[1:] + 2
    )
    assert torch.equal(left, alone)


def test_int8_layers_change_the_logits_only_a_little() -> None:
    model = classifier()
    fast = ff.compile(model, texts=[{"input_ids": IDS, "attention_mask": MASK}] * 8)
    assert fast.report is not None
    assert sum(layer.decision == "int8" for layer in fast.report.layers) == 12
    # Weights and activations rounded to 8 bits in two layers: 2e-4 of logits up to 1.6 when measured.
    torch.testing.assert_close(logits(fast), logits(model), rtol=0, atol=4e-3)
    assert not torch.equal(logits(fast), logits(model))


def test_compiling_leaves_the_model_as_it_was() -> None:
    model = classifier()
    before = copy.deepcopy(model.state_dict())
    ff.compile(model, texts=[{"input_ids": IDS, "attention_mask": MASK}] * 8)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert type(model.encoder).__name__ == "BertModel"


def test_a_saved_one_gives_the_same_bits_and_a_copy_too(tmp_path: Path) -> None:
    fast = ff.compile(classifier("zero"), FLOAT)
    ff.save_pretrained(fast, tmp_path / "out")
    assert torch.equal(logits(ff.load(tmp_path / "out")), logits(fast))
    assert torch.equal(logits(copy.deepcopy(fast)), logits(fast))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_spans": 3}, "shape"),
        ({"labels": 4}, "shape"),
        ({"fill": "nan"}, "fill"),
        ({"num_spans": 0}, "num_spans"),
    ],
)
def test_a_manifest_that_contradicts_the_file_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    ff.save_pretrained(ff.compile(classifier(), FLOAT), tmp_path / "out")
    manifest = tmp_path / "out" / "fastformers.json"
    content = json.loads(manifest.read_text())
    content["span_head"].update(change)
    manifest.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=message):
        ff.load(tmp_path / "out")


@pytest.mark.parametrize(
    "spans", [None, SPANS[:, :1], torch.tensor([[[1, 1], [4, 5]]] * 2), torch.tensor([[[1, 9], [4, 5]]] * 2)]
)
def test_spans_that_are_missing_or_empty_or_beyond_the_text_are_refused(spans: Any) -> None:
    with pytest.raises(ShapeError, match="span"):
        logits(ff.compile(classifier(), FLOAT), spans=spans)


@pytest.mark.parametrize("spans", [SPANS.tolist(), SPANS.float(), SPANS.bool(), SPANS.numpy()])
def test_spans_that_are_no_tensor_of_whole_numbers_are_refused(spans: Any) -> None:
    with pytest.raises(DtypeError, match="spans is"):
        ff.compile(classifier(), FLOAT)(input_ids=IDS, attention_mask=MASK, spans=spans)


def test_spans_for_a_model_that_reads_none_are_refused() -> None:
    fast = ff.compile(classifier().encoder, FLOAT)
    with pytest.raises(ConfigError, match="spans"):
        fast(input_ids=IDS, attention_mask=MASK, spans=SPANS)


def test_a_changed_head_and_pooling_are_refused() -> None:
    class Other(SpanClassifier):
        def forward(self, *_: Any, **__: Any) -> Any:
            return None

    model = classifier()
    model.__class__ = Other
    with pytest.raises(UnsupportedModelError, match="forward"):
        ff.compile(model, FLOAT)
    with pytest.raises(ConfigError, match="pooling"):
        ff.compile(classifier(), ff.CompileConfig(int8=None, pooling="mean"))
