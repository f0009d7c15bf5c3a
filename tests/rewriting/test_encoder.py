# SPDX-License-Identifier: MIT
"""The compiled encoder answers as the model does, whatever surrounds a text, and refuses what it cannot do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastformers import errors, kernels
from fastformers.rewriting import Encoder, translate

#: Promised for every layer float32: sums in another order, through all layers, outputs of order 1.
TOLERANCE = 1e-4


def encode(model: Any, attention: str = "float32", threads: int | None = None, **options: Any) -> Encoder:
    made = translate(model, **options)
    return Encoder(
        made.plan,
        made.tensors,
        config=model.config.to_dict(),
        result=made.result,
        threads=threads,
        attention=attention,
        notes=made.notes,
    )


def tensors_of(outputs: Any) -> dict[str, Tensor]:
    return {name: value for name, value in outputs.items() if isinstance(value, Tensor)}


def kept(value: Tensor, mask: Tensor) -> Tensor:
    """Rows of tokens of a per-token output; everything of another."""
    return value[mask.bool()] if value.shape[:2] == mask.shape else value


def test_outputs_are_the_models(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    padded: Callable[..., dict[str, Tensor]],
    family: str,
    head: str,
) -> None:
    model = make_model(family, head)
    batch = padded(make_texts())
    with torch.no_grad():
        wanted = model(**batch)
    got = encode(model)(**batch)
    assert type(got) is type(wanted)
    assert tensors_of(got).keys() == tensors_of(wanted).keys()
    assert got.get("hidden_states") is None
    for name, value in tensors_of(wanted).items():
        assert got[name].shape == value.shape
        assert got[name].dtype == torch.float32
        difference = kept(got[name] - value, batch["attention_mask"]).abs().max()
        assert difference <= TOLERANCE * max(1.0, float(value.abs().max())), name
        if value.shape[:2] == batch["attention_mask"].shape:
            assert not got[name][batch["attention_mask"] == 0].any()


def test_pruned_models_are_the_models(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    padded: Callable[..., dict[str, Tensor]],
    prune: Callable[..., None],
    family: str,
) -> None:
    model = make_model(family, "tokens")
    for number, (heads, ffn) in enumerate([(1, 7), (2, 0), (4, 61)]):
        prune(model, number, None if family == "mpnet" else heads, ffn)
    batch = padded(make_texts())
    with torch.no_grad():
        wanted = kept(model(**batch).logits, batch["attention_mask"])
    got = kept(encode(model)(**batch).logits, batch["attention_mask"])
    assert (got - wanted).abs().max() <= TOLERANCE * float(wanted.abs().max())


@pytest.mark.parametrize("attention", ["float32", "int8", "auto"])
def test_a_text_has_the_same_bits_whatever_surrounds_it(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    padded: Callable[..., dict[str, Tensor]],
    family: str,
    attention: str,
) -> None:
    model = make_model(family)
    texts = make_texts()
    one, three = encode(model, attention, threads=1), encode(model, attention, threads=3)
    alone = [tensors_of(one(torch.tensor([text]))) for text in texts]
    batches = [padded(texts), padded(texts, side="left"), padded(texts, extra=5), padded(texts[::-1])]
    for encoder in (one, three):
        for batch in batches:
            outputs = tensors_of(encoder(**batch))
            for row in range(len(texts)):
                text = texts.index(batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist())
                for name, value in outputs.items():
                    found = kept(value[row : row + 1], batch["attention_mask"][row : row + 1])
                    assert torch.equal(found, alone[text][name].reshape(found.shape)), name


def test_calls_from_many_threads_give_the_same_bits(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    padded: Callable[..., dict[str, Tensor]],
) -> None:
    encoder = encode(make_model("bert"))
    batch = padded(make_texts())
    wanted = encoder(**batch).last_hidden_state
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: encoder(**batch).last_hidden_state, range(40)))
    assert all(torch.equal(value, wanted) for value in found)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.uint8, torch.float32])
def test_masks_of_other_dtypes(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    padded: Callable[..., dict[str, Tensor]],
    dtype: torch.dtype,
) -> None:
    encoder = encode(make_model("distilbert"))
    batch = padded(make_texts())
    wanted = encoder(**batch)[0]
    batch["attention_mask"] = batch["attention_mask"].to(dtype)
    assert torch.equal(encoder(**batch)[0], wanted)
    batch["input_ids"] = batch["input_ids"].int()
    assert torch.equal(encoder(**batch)[0], wanted)


def test_token_types(make_model: Callable[..., Any]) -> None:
    model = make_model("bert")
    inputs = {
        "input_ids": torch.tensor([[5, 6, 7, 1], [8, 9, 10, 11]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]),
        "token_type_ids": torch.tensor([[0, 0, 1, 0], [0, 1, 1, 1]]),
    }
    with torch.no_grad():
        wanted = model(**inputs)
    got = encode(model)(**inputs)
    assert (got.pooler_output - wanted.pooler_output).abs().max() <= TOLERANCE
    without = encode(model)(inputs["input_ids"], inputs["attention_mask"])
    assert (without.pooler_output - wanted.pooler_output).abs().max() > 0.01
    positional = encode(model)(*inputs.values())
    assert torch.equal(positional.pooler_output, got.pooler_output)


def test_token_types_of_a_model_without_them(make_model: Callable[..., Any]) -> None:
    encoder = encode(make_model("mpnet"))
    ids = torch.tensor([[5, 6, 7]])
    got = encoder(ids, token_type_ids=torch.zeros_like(ids))
    assert torch.equal(got.last_hidden_state, encoder(ids).last_hidden_state)
    with pytest.raises(errors.ShapeError, match="no token types"):
        encoder(ids, token_type_ids=torch.tensor([[0, 0, 1]]))


def test_return_dict_false_gives_a_tuple(make_model: Callable[..., Any]) -> None:
    model = make_model("roberta", "answers")
    ids = torch.tensor([[5, 6, 7]])
    got = encode(model)(ids, return_dict=False)
    with torch.no_grad():
        wanted = model(ids, return_dict=False)
    assert type(got) is type(wanted) is tuple
    assert [value.shape for value in got] == [value.shape for value in wanted]


def test_masked_gap_of_padding_is_what_transformers_computes(make_model: Callable[..., Any]) -> None:
    """RoBERTa counts positions over other ids than padding, so a gap of padding changes none."""
    model = make_model("roberta")
    ids = torch.tensor([[5, 6, 1, 1, 7, 8, 1]])
    mask = (ids != 1).long()
    with torch.no_grad():
        wanted = model(ids, mask).last_hidden_state[mask.bool()]
    got = encode(model)(ids, mask).last_hidden_state[mask.bool()]
    assert (got - wanted).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    ("family", "ids"),
    [
        ("bert", [5, 6, 1, 7]),
        ("distilbert", [5, 6, 1, 7]),
        ("electra", [5, 6, 1, 7]),
        ("modernbert", [5, 6, 1, 7]),
        ("mpnet", [5, 6, 1, 7]),
        ("roberta", [5, 6, 9, 7]),
    ],
)
def test_masked_gap_that_moves_positions_is_refused(
    make_model: Callable[..., Any], family: str, ids: list[int]
) -> None:
    encoder = encode(make_model(family))
    with pytest.raises(errors.ShapeError, match="inside sequence 1"):
        encoder(torch.tensor([[5, 6, 7, 8], ids]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 1]]))


def test_default_position_ids_are_accepted(make_model: Callable[..., Any]) -> None:
    ids = torch.tensor([[1, 5, 6, 7]])
    mask = torch.tensor([[0, 1, 1, 1]])
    for family, first in (("bert", 0), ("roberta", 2)):
        encoder = encode(make_model(family))
        wanted = encoder(ids, mask)[0]
        positions = torch.tensor([[0, first, first + 1, first + 2]])
        assert torch.equal(encoder(ids, mask, position_ids=positions)[0], wanted)
        with pytest.raises(errors.ShapeError, match="position_ids other than"):
            encoder(ids, mask, position_ids=positions + 1)
        with pytest.raises(errors.ShapeError, match="position_ids has shape"):
            encoder(ids, mask, position_ids=positions[:, :3])


IDS = torch.tensor([[5, 6, 7], [8, 9, 10]])
BAD_INPUTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, errors.ConfigError, "input_ids is missing"),
    ({"input_ids": IDS[0]}, errors.ShapeError, "input_ids has shape"),
    ({"input_ids": IDS[:0]}, errors.ShapeError, "input_ids has shape"),
    ({"input_ids": IDS[:, :0]}, errors.ShapeError, "input_ids has shape"),
    ({"input_ids": IDS.float()}, errors.DtypeError, "input_ids is float32"),
    ({"input_ids": IDS.tolist()}, errors.DtypeError, "input_ids is list"),
    ({"input_ids": IDS.to("meta")}, errors.DeviceError, "meta"),
    ({"input_ids": IDS + 90}, errors.ShapeError, "95"),
    ({"input_ids": IDS - 6}, errors.ShapeError, "-1"),
    ({"input_ids": IDS + 2**32}, errors.ShapeError, "4294967301"),
    ({"input_ids": torch.full((1, 43), 5)}, errors.ShapeError, "43"),
    ({"attention_mask": IDS[:, :2] > 0}, errors.ShapeError, "attention_mask has shape"),
    ({"attention_mask": torch.ones(2, 1, 3, 3)}, errors.ShapeError, "attention_mask has shape"),
    ({"attention_mask": torch.ones(2, 3).half()}, errors.DtypeError, "attention_mask is float16"),
    ({"attention_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])}, errors.ShapeError, "no token of sequence 1"),
    ({"attention_mask": torch.tensor([[1, 1, 2], [1, 1, 1]])}, errors.ShapeError, "other numbers"),
    ({"attention_mask": torch.full((2, 3), 0.5)}, errors.ShapeError, "other numbers"),
    ({"token_type_ids": IDS[:1]}, errors.ShapeError, "token_type_ids has shape"),
    ({"token_type_ids": IDS}, errors.ShapeError, "type"),
    ({"token_type_ids": IDS.float()}, errors.DtypeError, "token_type_ids"),
    ({"inputs_embeds": torch.ones(2, 3, 30)}, errors.ConfigError, "inputs_embeds"),
    ({"labels": torch.ones(2)}, errors.ConfigError, "labels"),
    ({"output_hidden_states": True}, errors.ConfigError, "output_hidden_states"),
    ({"output_attentions": True}, errors.ConfigError, "output_attentions"),
    ({"head_mask": torch.ones(3, 3)}, errors.ConfigError, "head_mask"),
]


@pytest.mark.parametrize(
    ("inputs", "error", "says"), BAD_INPUTS, ids=lambda part: "".join(part) if isinstance(part, dict) else ""
)
def test_bad_input_is_refused_and_hurts_nothing(
    make_model: Callable[..., Any], inputs: dict[str, Any], error: type[Exception], says: str
) -> None:
    encoder = encode(make_model("bert"))
    wanted = encoder(IDS).last_hidden_state
    given = inputs if not inputs or "input_ids" in inputs else {"input_ids": IDS, **inputs}
    with pytest.raises(error, match=says):
        encoder(**given)
    assert torch.equal(encoder(IDS, output_hidden_states=False, use_cache=None).last_hidden_state, wanted)


@pytest.mark.parametrize("family", ["roberta", "mpnet"])
def test_padding_without_a_mask_is_refused_where_it_has_no_position(
    make_model: Callable[..., Any], family: str
) -> None:
    encoder = encode(make_model(family))
    with pytest.raises(errors.ShapeError, match="sequence 1 holds padding"):
        encoder(torch.tensor([[5, 6, 7], [5, 6, 1]]))


@pytest.mark.parametrize("family", ["roberta", "mpnet", "bert", "modernbert"])
def test_padding_token_that_the_mask_keeps_is_what_transformers_computes(
    make_model: Callable[..., Any], family: str
) -> None:
    model = make_model(family)
    ids = torch.tensor([[5, 6, 1, 7, 8, 1, 9], [1, 5, 6, 7, 1, 1, 1]])
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    with torch.no_grad():
        wanted = model(ids, mask).last_hidden_state[mask.bool()]
    got = encode(model)(ids, mask).last_hidden_state[mask.bool()]
    assert (got - wanted).abs().max() <= TOLERANCE


def test_longest_text_is_the_position_table(make_model: Callable[..., Any]) -> None:
    for family, longest in (("bert", 42), ("roberta", 40), ("modernbert", 42)):
        encoder = encode(make_model(family))
        assert encoder(torch.full((1, longest), 5)).last_hidden_state.shape == (1, longest, 30)
        with pytest.raises(errors.ShapeError):
            encoder(torch.full((1, longest + 1), 5))


def test_nan_weights_are_named(make_model: Callable[..., Any]) -> None:
    model = make_model("bert")
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight[3, 2] = torch.nan
    with pytest.raises(errors.NonFiniteError, match=r"layers\.1\.down"):
        encode(model)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_copies_give_the_same_bits(make_model: Callable[..., Any], again: Callable[[Any], Any]) -> None:
    encoder = encode(make_model("modernbert", "classification"), threads=1)
    twin = again(encoder)
    assert twin is not encoder
    assert torch.equal(twin(IDS).logits, encoder(IDS).logits)
    assert (twin.plan, twin.config, twin.threads) == (encoder.plan, encoder.config, 1)
    assert all(np.array_equal(twin.tensors[name], array) for name, array in encoder.tensors.items())


def test_it_stays_in_evaluation_mode_on_the_cpu_in_float32(make_model: Callable[..., Any]) -> None:
    encoder = encode(make_model("bert"))
    assert encoder.eval() is encoder
    assert encoder.to("cpu") is encoder.float() is encoder
    torch.set_default_dtype(torch.float64)
    try:
        assert encoder.to("cpu") is encoder
    finally:
        torch.set_default_dtype(torch.float32)
    assert not encoder.training
    assert not list(encoder.parameters())
    with pytest.raises(errors.UnsupportedModelError, match="train the model"):
        encoder.train()
    with pytest.raises(errors.DeviceError, match="meta"):
        encoder.to("meta")
    for change in (encoder.half, encoder.double):
        with pytest.raises(errors.DtypeError, match="float32"):
            change()
    ids = torch.tensor([[5, 6]])
    assert not encoder(ids).last_hidden_state.requires_grad


def test_what_it_says_of_itself(make_model: Callable[..., Any]) -> None:
    encoder = encode(make_model("bert"))
    floats = sum(array.nbytes for array in encoder.tensors.values())
    assert 0.5 * floats < encoder.weight_bytes < 3 * floats
    assert encoder.isa == kernels.active_isa()
    assert "layers=3, hidden=30" in repr(encoder)
    assert (encoder.device, encoder.dtype, encoder.threads) == (torch.device("cpu"), torch.float32, None)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_sentence_embeddings(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    padded: Callable[..., dict[str, Tensor]],
    pooling: Any,
) -> None:
    model = make_model("mpnet")
    batch = padded(make_texts())
    encoder = encode(model, pooling=pooling, normalize=True)
    got = encoder(**batch)
    mask = batch["attention_mask"][:, :, None]
    with torch.no_grad():
        rows = model(**batch).last_hidden_state
    wanted = (rows * mask).sum(dim=1) / mask.sum(dim=1) if pooling == "mean" else rows[:, 0]
    wanted = torch.nn.functional.normalize(wanted, dim=1)
    assert (got.embedding - wanted).abs().max() <= TOLERANCE
    assert got[0] is got.embedding
    assert torch.equal(pickle.loads(pickle.dumps(got)).embedding, got.embedding)
