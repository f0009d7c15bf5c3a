# SPDX-License-Identifier: MIT
"""A pruned model is a model like any other: it saves and loads in one line, quantizes and compiles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fastformers as ff
from fastformers.errors import FormatError, UnsupportedModelError
from fastformers.modules.layer_shapes import LayerShape, resize_, shapes_of
from fastformers.modules.span_classifier import SpanClassifier

Make = Callable[..., Any]
Batches = list[dict[str, Tensor]]

UNEVEN = ff.PruneConfig(ranking="global", macs=0.6)
SWAP_ALL = ff.Int8Config(never_slower=False)
#: Two ways of summing the same float32 products: 3.3e-6 of logits up to 2.4 when measured.
TWO_WAYS: Any = {"atol": 3e-5, "rtol": 0}


@pytest.fixture
def pruned(make_model: Make, examples: Batches, family: str) -> Any:
    """A classifier whose layers differ in heads (but for MPNet) and in neurons."""
    model = make_model(family)
    ff.prune_(model, UNEVEN, examples)
    assert len(set(shapes_of(model))) > 1
    return model


def test_it_loads_in_one_line_with_the_same_bits(
    pruned: Any, examples: Batches, logits_of: Callable[..., Tensor], tmp_path: Path
) -> None:
    ff.save_pretrained(pruned, tmp_path / "model")
    loaded = ff.load_pretrained_torch(tmp_path / "model")
    assert type(loaded) is type(pruned)
    assert shapes_of(loaded) == shapes_of(pruned)
    assert torch.equal(logits_of(loaded, examples), logits_of(pruned, examples))
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])


def test_what_was_loaded_is_pruned_again_and_saved_again(
    pruned: Any, examples: Batches, logits_of: Callable[..., Tensor], tmp_path: Path
) -> None:
    ff.save_pretrained(pruned, tmp_path / "model")
    loaded = ff.load_pretrained_torch(tmp_path / "model")
    config = ff.PruneConfig(heads=1, ffn=8)
    for model in (loaded, pruned):
        ff.prune_(model, config, examples)
    ff.save_pretrained(loaded, tmp_path / "again")
    again = ff.load_pretrained_torch(tmp_path / "again")
    assert set(shapes_of(again)) == {LayerShape(1, 8, 8)}
    assert torch.equal(logits_of(again, examples), logits_of(pruned, examples))


def test_it_quantizes_and_loads_packed(
    pruned: Any, examples: Batches, logits_of: Callable[..., Tensor], tmp_path: Path
) -> None:
    before = logits_of(pruned, examples)
    ff.quantize_(pruned, SWAP_ALL, texts=[{"input_ids": each["input_ids"]} for each in examples * 2])
    found = logits_of(pruned, examples)
    assert float(nn_cosine(found, before)) > 0.99
    ff.save_pretrained(pruned, tmp_path / "model")
    assert torch.equal(logits_of(ff.load_pretrained_torch(tmp_path / "model"), examples), found)


def nn_cosine(one: Tensor, other: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)


def test_it_compiles_before_and_after_loading(
    pruned: Any, examples: Batches, logits_of: Callable[..., Tensor], tmp_path: Path
) -> None:
    ff.save_pretrained(pruned, tmp_path / "model")
    expected = logits_of(pruned, examples)
    for model in (pruned, ff.load_pretrained_torch(tmp_path / "model")):
        exact = ff.compile(model, ff.CompileConfig(int8=None, attention="float32"))
        torch.testing.assert_close(logits_of(exact, examples), expected, **TWO_WAYS)
        fast = ff.compile(model, SWAP_ALL, texts=[{"input_ids": each["input_ids"]} for each in examples * 2])
        assert float(nn_cosine(logits_of(fast, examples), expected)) > 0.99
    ff.save_pretrained(exact, tmp_path / "compiled")
    torch.testing.assert_close(logits_of(ff.load(tmp_path / "compiled"), examples), expected, **TWO_WAYS)


@pytest.mark.parametrize("name", ["bert", "distilbert", "mpnet", "modernbert"])
def test_span_classifiers_save_load_and_compile(
    make_model: Make, examples: Batches, tmp_path: Path, name: str
) -> None:
    model = SpanClassifier(make_model(name, "AutoModel"), num_spans=2, num_labels=3, dropout=0.2).eval()
    marked = [{**each, "spans": torch.tensor([[[0, 1], [1, 3]]])} for each in examples]
    for number, config in enumerate((None, ff.PruneConfig(heads=2, ffn=12))):
        if config is not None:
            ff.prune_(model, config, marked)
        ff.save_pretrained(model, tmp_path / str(number))
        loaded: Any = ff.load_pretrained_torch(tmp_path / str(number))
        assert type(loaded) is SpanClassifier
        assert type(loaded.encoder) is type(model.encoder)
        assert loaded.dropout.p == 0.2
        with torch.no_grad():
            expected = model(**marked[0]).logits
            assert torch.equal(loaded(**marked[0]).logits, expected)
        exact = ff.compile(loaded, ff.CompileConfig(int8=None, attention="float32"))
        inputs = {name: tensor for name, tensor in marked[0].items() if name != "labels"}
        torch.testing.assert_close(exact(**inputs).logits, expected, **TWO_WAYS)


def test_sizes_stand_in_the_manifest_only_where_they_differ(
    make_model: Make, examples: Batches, tmp_path: Path
) -> None:
    model = make_model("bert")
    ff.save_pretrained(model, tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "fastformers.json").read_text())["shapes"] is None
    ff.prune_(model, ff.PruneConfig(heads=2), examples)
    ff.save_pretrained(model, tmp_path / "pruned")
    manifest = json.loads((tmp_path / "pruned" / "fastformers.json").read_text())
    assert manifest["shapes"] == [{"heads": 2, "head_size": 8, "intermediate": 24}] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda shapes: shapes.pop(), "2 shapes for 3 layers"),
        (lambda shapes: shapes[1].update(heads=3), r"has shape .* in the file"),
        (lambda shapes: shapes[1].update(intermediate=65536, heads=65536), r"has shape .* in the file"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    make_model: Make, examples: Batches, tmp_path: Path, change: Callable[[list[Any]], Any], words: str
) -> None:
    model = make_model("bert")
    ff.prune_(model, ff.PruneConfig(heads=2), examples)
    ff.save_pretrained(model, tmp_path / "model")
    file = tmp_path / "model" / "fastformers.json"
    manifest = json.loads(file.read_text())
    change(manifest["shapes"])
    file.write_text(json.dumps(manifest))
    with pytest.raises(FormatError, match=words):
        ff.load_pretrained_torch(tmp_path / "model")


def test_another_head_size_is_kept_where_the_family_can(make_model: Make, tmp_path: Path) -> None:
    model = make_model("bert")
    resize_(model, [LayerShape(heads=3, head_size=5, intermediate=24)] * 3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    ff.save_pretrained(model, tmp_path / "model")
    loaded = ff.load_pretrained_torch(tmp_path / "model")
    assert loaded.bert.encoder.layer[0].attention.self.scaling == 5**-0.5
    ids = torch.arange(5, 12)[None]
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)
    with pytest.raises(UnsupportedModelError, match="rotates heads of 8 channels"):
        resize_(make_model("modernbert"), [LayerShape(heads=3, head_size=5, intermediate=24)] * 3)
