# SPDX-License-Identifier: MIT
"""``ff.to_fp16``: what is half and what is not, how far from float32, and what is refused. On a CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastformers as ff
from fastformers.errors import (
    ConfigError,
    DtypeError,
    GateError,
    NonFiniteError,
    UnsupportedModelError,
)
from fastformers.gpu.agreement import compare_with_float32
from fastformers.gpu.alignment import align_
from fastformers.gpu.mpnet_attention import FusedMPNetAttention
from fastformers.modules.encoder_names import parts_of
from fastformers.modules.layer_shapes import shapes_of

Make = Callable[..., Any]

#: Half keeps 11 bits, so each of some twenty roundings on the way through three layers is off by at most 5e-4 of a
#: channel; they do not add up in one direction.
LEAST_COSINE = 0.99999
#: The same of logits, whose values are between -5 and 5 here.
MOST_DIFFERENCE = 0.05


def batch_of(lengths: list[int]) -> dict[str, Tensor]:
    """Random ids, padded on the right with the padding id 1."""
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    ids = torch.randint(2, 20, mask.shape, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids.masked_fill(~mask, 1), "attention_mask": mask.long()}


def answers(output: Any) -> list[Tensor]:
    names = ("logits", "start_logits", "end_logits", "last_hidden_state")
    return [output[name] for name in names if name in output]


def test_every_family_and_head_answers_as_in_float32(
    family: str, head: str, make_model: Make, tokenizer: Any, texts: list[Any]
) -> None:
    model = make_model(family, head)
    half = ff.to_fp16(model, tokenizer=tokenizer, texts=texts)
    found: Any = half.fp16_agreement
    assert found.texts == len(texts)
    assert found.cosine_worst > LEAST_COSINE
    assert 0 < found.max_difference < MOST_DIFFERENCE
    assert (found.changed is None) == (head == "base")


def test_all_parameters_are_half_and_all_answers_float32(family: str, head: str, make_model: Make) -> None:
    model = make_model(family, head)
    half = ff.to_fp16(model)
    assert type(half) is type(model)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float16}
    assert not any(parameter.requires_grad for parameter in half.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    found = half(**batch_of([5, 3]))
    assert {tensor.dtype for tensor in answers(found)} == {torch.float32}
    assert all(tensor.dtype == torch.float32 for tensor in half(**batch_of([5, 3]), return_dict=False))


def test_products_are_computed_in_half(family: str, make_model: Make) -> None:
    half = ff.to_fp16(make_model(family, "classification"))
    seen: set[torch.dtype] = set()
    linears = [module for module in half.modules() if isinstance(module, nn.Linear)]
    for linear in linears:
        linear.register_forward_hook(
            lambda _module, given, output: seen.update((given[0].dtype, output.dtype))
        )
    half(**batch_of([5, 3]))
    assert seen == {torch.float16}


def test_tables_of_angles_stay_float32(make_model: Make) -> None:
    model = make_model("modernbert", "base")
    buffers = dict(model.named_buffers())
    floats = [name for name, buffer in buffers.items() if buffer.is_floating_point()]
    assert floats
    half = dict(ff.to_fp16(model).named_buffers())
    assert all(torch.equal(half[name], buffers[name]) for name in floats)
    assert all(half[name].dtype == torch.float32 for name in floats)


def test_norms_accumulate_in_float32(make_model: Make) -> None:
    half = ff.to_fp16(make_model("bert", "base"))
    norm = half.embeddings.LayerNorm
    # The squares of these are far beyond half, their sum too.
    rows = 3e4 * torch.randn(4, 30, generator=torch.Generator().manual_seed(0)).clamp(-2, 2).half()
    exact = nn.functional.layer_norm(rows.double(), (30,), norm.weight.double(), norm.bias.double(), norm.eps)
    # One rounding of the result to half, 2^-11 of it, and one of float32's in front of it.
    assert torch.allclose(norm(rows).double(), exact, rtol=2**-10, atol=1e-4)


def test_softmax_accumulates_in_float32() -> None:
    # 70,000 equal scores: a sum in half would end at 65,504, or stand still at 2,048.
    scores = torch.zeros(1, 1, 1, 70_000, dtype=torch.float16)
    values = torch.ones(1, 1, 70_000, 8, dtype=torch.float16)
    assert torch.softmax(scores, -1).float().sum() == pytest.approx(
        1, abs=0.2
    )  # each share is rounded to half
    query, keys = torch.zeros(1, 1, 1, 8).half(), torch.zeros(1, 1, 70_000, 8).half()
    attended = nn.functional.scaled_dot_product_attention(query, keys, values)
    assert torch.allclose(attended.float(), torch.ones(8), atol=2**-10)  # one rounding of the result


def test_masks_do_not_overflow(family: str, make_model: Make) -> None:
    model = make_model(family, "base")
    if family == "mpnet":
        with torch.no_grad():
            model.encoder.relative_attention_bias.weight.sub_(40)  # min - 40 is minus infinity in half
    half = ff.to_fp16(model)
    batch = batch_of([7, 1, 3])
    hidden = half(**batch).last_hidden_state
    assert bool(hidden.isfinite().all())
    other = {**batch, "input_ids": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 5)}
    other["input_ids"][:, 0] = batch["input_ids"][:, 0]
    # Padding is not attended to; ids of padding decide positions in families of RoBERTa's kind, so they stay there.
    if family in ("bert", "distilbert", "electra", "modernbert"):
        kept = batch["attention_mask"].bool()
        assert torch.equal(half(**other).last_hidden_state[kept], hidden[kept])


def test_fused_attention_is_chosen_whatever_the_model_was_loaded_with(family: str, make_model: Make) -> None:
    model = make_model(family, "base")
    if family != "mpnet":
        model.set_attn_implementation("eager")
    half = ff.to_fp16(model)
    parts = parts_of(half)
    if family == "mpnet":
        attention = parts.layers[0].get_submodule(parts.names.block.attention)
        assert isinstance(attention, FusedMPNetAttention)
    else:
        assert half.config._attn_implementation == "sdpa"
        assert model.config._attn_implementation == "eager"


def test_eager_attention_can_be_had(family: str, make_model: Make, tokenizer: Any, texts: list[Any]) -> None:
    config = ff.Fp16Config(attention="eager", align=False)
    half = ff.to_fp16(make_model(family, "base"), config, tokenizer=tokenizer, texts=texts)
    assert half.config._attn_implementation == "eager"
    assert half.fp16_agreement.cosine_worst > LEAST_COSINE


def test_fused_mpnet_attention_has_no_probabilities(make_model: Make) -> None:
    half = ff.to_fp16(make_model("mpnet", "base"))
    with pytest.raises(UnsupportedModelError, match="eager"):
        half(**batch_of([3]), output_attentions=True)


def test_filling_up_changes_no_answer(family: str, make_model: Make, prune: Make) -> None:
    model = make_model(family, "base").double()
    for layer, heads in enumerate((2, 2, 2)):
        prune(model.float(), layer, heads=None if family == "mpnet" else heads, ffn=21 + layer)
    model.double()
    filled = copy.deepcopy(model)
    align_(filled)
    sizes = {(shape.head_size, shape.intermediate) for shape in shapes_of(filled)}
    if family.startswith("modernbert"):
        assert sizes == {(10, 21), (10, 22), (10, 23)}
    else:
        assert sizes == {(16, 24)}
    batch = batch_of([9, 4])
    # float64, in sums of another order; attention's scale is a root that goes through a product.
    assert torch.allclose(filled(**batch).last_hidden_state, model(**batch).last_hidden_state, atol=1e-10)


def test_pruned_models_run_in_half(
    family: str, make_model: Make, prune: Make, tokenizer: Any, texts: list[Any]
) -> None:
    model = make_model(family, "classification")
    for layer in range(3):
        prune(model, layer, heads=None if family == "mpnet" else 1 + layer % 2, ffn=9 + layer)
    half = ff.to_fp16(model, tokenizer=tokenizer, texts=texts)
    assert half.fp16_agreement.cosine_worst > LEAST_COSINE


def test_span_classifiers_run_in_half(span_classifier: Any, tokenizer: Any) -> None:
    texts = [
        ff.SpanText("the cat sat on the bank", [(4, 7), (19, 23)]),
        ff.SpanText("money bank river", [(0, 5), (6, 10)]),
    ]
    half = ff.to_fp16(span_classifier, tokenizer=tokenizer, texts=texts)
    assert half.fp16_agreement.cosine_worst > LEAST_COSINE
    spans = torch.tensor([[[1, 2], [2, 3]]])
    logits = half(**batch_of([5]), spans=spans).logits
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, span_classifier(**batch_of([5]), spans=spans).logits, atol=MOST_DIFFERENCE)


def test_tied_weights_stay_tied(make_model: Make) -> None:
    model = make_model("bert", "classification")
    model.tied = model.classifier
    half = ff.to_fp16(model)
    assert half.tied.weight is half.classifier.weight


def test_half_of_half_is_the_same(make_model: Make) -> None:
    half = ff.to_fp16(make_model("bert", "classification"))
    again = ff.to_fp16(half)
    batch = batch_of([6, 2])
    assert torch.equal(again(**batch).logits, half(**batch).logits)


def test_saved_and_loaded_by_transformers(make_model: Make, tmp_path: Any) -> None:
    model = make_model("bert", "classification", hidden_size=32, num_attention_heads=4, intermediate_size=48)
    half = ff.to_fp16(model)
    half.save_pretrained(tmp_path)
    loaded = ff.to_fp16(type(model).from_pretrained(tmp_path))
    batch = batch_of([6, 2])
    assert torch.equal(loaded(**batch).logits, half(**batch).logits)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1e5, r"layer\.1\.output\.dense\.weight holds 100000, and half ends at 65504"),
        (float("nan"), r"layer\.1\.output\.dense\.weight holds NaN or infinity"),
        (float("-inf"), r"layer\.1\.output\.dense\.weight holds NaN or infinity"),
    ],
)
def test_weights_that_half_cannot_hold_are_named(make_model: Make, value: float, message: str) -> None:
    model = make_model("bert", "classification")
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight[0, 0] = value
    with pytest.raises(NonFiniteError, match=message):
        ff.to_fp16(model)


def test_activations_that_half_cannot_hold_are_named(
    make_model: Make, tokenizer: Any, texts: list[Any]
) -> None:
    model = make_model("bert", "classification")
    with torch.no_grad():
        model.bert.encoder.layer[1].intermediate.dense.weight.mul_(6e4)
    with pytest.raises(NonFiniteError, match=r"first in bert\.encoder\.layer\.1\.intermediate"):
        ff.to_fp16(model, tokenizer=tokenizer, texts=texts)


def test_int8_layers_are_refused(make_model: Make) -> None:
    model = make_model("bert", "classification")
    ff.quantize_(model, ff.Int8Config(never_slower=False), texts=[batch_of([9])] * 8)
    with pytest.raises(DtypeError, match="is INT8"):
        ff.to_fp16(model)


def test_layers_of_another_class_are_refused(make_model: Make) -> None:
    class Adapted(nn.Linear):
        pass

    model = make_model("bert", "base")
    model.encoder.layer[0].output.dense = Adapted(44, 30)
    with pytest.raises(UnsupportedModelError, match=r"output\.dense of layer 0 is a Adapted"):
        ff.to_fp16(model)


def test_unknown_models_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="family"):
        ff.to_fp16(nn.Linear(2, 2))


def test_a_missed_cosine_is_an_error(make_model: Make, tokenizer: Any, texts: list[Any]) -> None:
    model = make_model("bert", "classification")
    with pytest.raises(GateError, match=r"min_cosine=1\.0"):
        ff.to_fp16(model, ff.Fp16Config(min_cosine=1.0), tokenizer=tokenizer, texts=texts)
    assert ff.to_fp16(model, ff.Fp16Config(min_cosine=None), tokenizer=tokenizer, texts=texts)


def test_a_tokenizer_without_texts_is_an_error(make_model: Make, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="both"):
        ff.to_fp16(make_model("bert"), tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="no texts"):
        ff.to_fp16(make_model("bert"), tokenizer=tokenizer, texts=[])


def test_figures_of_a_model_with_itself_are_perfect(
    make_model: Make, tokenizer: Any, texts: list[Any]
) -> None:
    model = make_model("bert", "tokens")
    found = compare_with_float32(model, model, tokenizer, texts)
    assert (found.max_difference, found.changed) == (0, 0)
    # Of a vector with itself: rounding of its norm in float32.
    assert found.cosine_worst == pytest.approx(1, abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_on_a_gpu_the_answers_are_those_of_float32(
    family: str, head: str, make_model: Make, tokenizer: Any, texts: list[Any]
) -> None:
    half = ff.to_fp16(make_model(family, head).cuda(), tokenizer=tokenizer, texts=texts)
    assert next(half.parameters()).is_cuda
    assert half.fp16_agreement.cosine_worst > LEAST_COSINE
