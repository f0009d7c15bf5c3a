# SPDX-License-Identifier: MIT
"""A pair classifier compiles to what it computes, whatever the padding, and comes back from its artefact."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import word_pieces

import fastformers as ff
from fastformers.errors import CalibrationError, ConfigError, FormatError, UnsupportedModelError
from fastformers.modules.pair_classifier import PairClassifier

FLOAT = ff.CompileConfig(int8=None)
IDS = torch.tensor(
    [[2, 5, 6, 7, 3, 9, 3], [2, 10, 11, 3, 3, 12, 3], [2, 4, 3, 5, 3, 0, 0], [2, 4, 3, 0, 0, 0, 0]]
)
MASK = (IDS != 0).long()


def classifier(family: str = "Bert", labels: int = 3) -> PairClassifier:
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
    model = PairClassifier(transformers.AutoModel.from_config(config), labels, separator_id=3, first_id=2)
    torch.nn.init.normal_(model.classifier.bias)
    return model.eval()


def logits(model: Any, rows: slice = slice(None), **changes: Any) -> torch.Tensor:
    inputs = {"input_ids": IDS[rows], "attention_mask": MASK[rows], **changes}
    with torch.no_grad():
        found: torch.Tensor = model(**inputs).logits
    return found


@pytest.mark.parametrize("family", ["Bert", "Roberta", "MPNet", "Electra", "ModernBert"])
def test_a_float_compiled_pair_classifier_is_the_model(family: str) -> None:
    model = classifier(family)
    fast = ff.compile(model, FLOAT)
    assert type(fast(input_ids=IDS, attention_mask=MASK)) is type(model(input_ids=IDS, attention_mask=MASK))
    # Two ways of summing the same float32 products: 9.5e-7 of logits up to 4.7 when measured.
    torch.testing.assert_close(logits(fast), logits(model), rtol=0, atol=1e-5)


def test_texts_do_not_see_their_batch_mates_nor_the_side_of_the_padding() -> None:
    fast = ff.compile(classifier(), FLOAT)
    alone = logits(fast, slice(2, 3), input_ids=IDS[2:3, :5], attention_mask=MASK[2:3, :5])
    assert torch.equal(logits(fast)[2:3], alone)
    left = logits(fast, slice(2, 3), input_ids=IDS[2:3].roll(2), attention_mask=MASK[2:3].roll(2))
    assert torch.equal(left, alone)


def test_int8_layers_change_the_logits_only_a_little() -> None:
    model = classifier()
    fast = ff.compile(model, texts=[{"input_ids": IDS, "attention_mask": MASK}] * 8)
    assert fast.report is not None
    assert sum(layer.decision == "int8" for layer in fast.report.layers) == 12
    # Weights and activations rounded to 8 bits in two layers: 3e-4 of logits up to 2.3 when measured.
    torch.testing.assert_close(logits(fast), logits(model), rtol=0, atol=4e-3)
    assert not torch.equal(logits(fast), logits(model))


def test_a_saved_one_gives_the_same_bits_and_a_copy_too(tmp_path: Path) -> None:
    fast = ff.compile(classifier(), FLOAT)
    ff.save_pretrained(fast, tmp_path / "out")
    assert torch.equal(logits(ff.load(tmp_path / "out")), logits(fast))
    assert torch.equal(logits(copy.deepcopy(fast)), logits(fast))


def test_the_torch_model_is_saved_too_and_its_head_stays_float(tmp_path: Path) -> None:
    model = classifier()
    ff.quantize_(
        model, ff.Int8Config(never_slower=False), texts=[{"input_ids": IDS, "attention_mask": MASK}] * 8
    )
    assert type(model.classifier) is torch.nn.Linear
    ff.save_pretrained(model, tmp_path / "out")
    loaded = ff.load_pretrained_torch(tmp_path / "out")
    assert type(loaded) is PairClassifier
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": 4}, "shape"),
        ({"separator_id": 60}, "separator_id"),
        ({"first_id": -1}, "first_id"),
        ({"first_id": "2"}, "first_id"),
    ],
)
def test_a_manifest_that_contradicts_the_file_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    ff.save_pretrained(ff.compile(classifier(), FLOAT), tmp_path / "out")
    manifest = tmp_path / "out" / "fastformers.json"
    content = json.loads(manifest.read_text())
    content["pair_head"].update(change)
    manifest.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=message):
        ff.load(tmp_path / "out")


def test_two_heads_in_a_manifest_are_refused(tmp_path: Path) -> None:
    ff.save_pretrained(ff.compile(classifier(), FLOAT), tmp_path / "out")
    manifest = tmp_path / "out" / "fastformers.json"
    content = json.loads(manifest.read_text())
    content["span_head"] = {"num_spans": 2, "labels": 3, "fill": "zero"}
    manifest.write_text(json.dumps(content))
    with pytest.raises(FormatError, match="one of them"):
        ff.load(tmp_path / "out")


def test_spans_a_changed_head_and_pooling_are_refused() -> None:
    class Other(PairClassifier):
        def forward(self, *_: Any, **__: Any) -> Any:
            return None

    fast = ff.compile(classifier(), FLOAT)
    with pytest.raises(ConfigError, match="spans"):
        fast(input_ids=IDS, attention_mask=MASK, spans=torch.zeros(4, 2, 2, dtype=torch.int64))
    with pytest.raises(ConfigError, match="pooling"):
        ff.compile(classifier(), ff.CompileConfig(int8=None, pooling="mean"))
    model = classifier()
    model.__class__ = Other
    with pytest.raises(UnsupportedModelError, match="forward"):
        ff.compile(model, FLOAT)


def test_it_is_calibrated_on_pairs() -> None:
    tokenizer = word_pieces(["the", "of", "and"])
    assert (tokenizer.cls_token_id, tokenizer.sep_token_id) == (2, 3)
    model = classifier()
    report = ff.quantize_(model, ff.Int8Config(never_slower=False), tokenizer=tokenizer)
    assert "pairs of bundled texts" in report.calibration
    with pytest.raises(CalibrationError, match="give pairs"):
        ff.quantize_(
            classifier(), ff.Int8Config(never_slower=False), tokenizer=tokenizer, texts=["a text"] * 9
        )


def test_a_compiled_one_is_calibrated_on_pairs_and_its_own_answers_are_compared() -> None:
    tokenizer = word_pieces(["the", "of", "and"])
    report = ff.compile(classifier(), tokenizer=tokenizer).report
    assert report is not None
    assert "pairs of bundled texts" in report.calibration
    assert report.agreement is not None
    assert "nearest" not in report.agreement.disagreement_of
    with pytest.raises(CalibrationError, match="give pairs"):
        ff.compile(classifier(), tokenizer=tokenizer, texts=["a text"] * 9)
