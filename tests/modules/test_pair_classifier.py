# SPDX-License-Identifier: MIT
"""The pair classifier: the cosine of both texts' mean rows, whatever the padding, and what it is at first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastformers.errors import ConfigError
from fastformers.modules.pair_classifier import PairClassifier, cosine_of_pairs

FIRST, END, PAD = 2, 3, 0
#: Two texts with one end between them, with two ends (RoBERTa's), and one text alone.
IDS = torch.tensor(
    [[FIRST, 5, 6, 7, END, 8, 9, END], [FIRST, 9, END, END, 8, 7, END, PAD], [FIRST, 4, 5, END, *[PAD] * 4]]
)
MASK = (IDS != PAD).long()
#: Places of the tokens of the first and of the second text, counted by hand.
PLACES = [([1, 2, 3], [5, 6]), ([1], [4, 5]), ([1, 2], [])]


def make(labels: int = 2) -> PairClassifier:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
    )
    return PairClassifier(BertModel(config), labels, separator_id=END, first_id=FIRST).eval()


def by_hand(hidden: Tensor) -> Tensor:
    cosines = []
    for rows, (first, second) in zip(hidden, PLACES, strict=True):
        means = [rows[places].double().mean(0) for places in (first, second)]
        cosines.append(torch.dot(*means) / means[0].norm() / means[1].norm() if second else torch.tensor(0.0))
    return torch.stack([cosine.float() for cosine in cosines])


def test_the_cosine_is_that_of_the_texts_own_tokens() -> None:
    hidden = torch.randn(3, 8, 32, generator=torch.Generator().manual_seed(1)) + 0.3
    hidden[MASK == 0] = 1e6  # what stands at padding counts for nothing
    torch.testing.assert_close(
        cosine_of_pairs(hidden, IDS, MASK, END, FIRST), by_hand(hidden), rtol=0, atol=1e-6
    )


def test_a_token_that_only_looks_like_an_end_in_padding_ends_nothing() -> None:
    hidden = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[END, END, FIRST, 5, 6, END, 8, END, END]])  # padded by the separator, on both sides
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1, 0]])
    alone = cosine_of_pairs(hidden[:, 2:8], ids[:, 2:8], mask[:, 2:8], END, FIRST)
    torch.testing.assert_close(cosine_of_pairs(hidden, ids, mask, END, FIRST), alone, rtol=0, atol=1e-6)


def test_logits_rise_from_the_first_label_to_the_last_with_likeness() -> None:
    model = make(3)
    logits = model(input_ids=IDS, attention_mask=MASK).logits
    hidden = model.encoder(input_ids=IDS, attention_mask=MASK).last_hidden_state
    wanted = by_hand(hidden)[:, None] * torch.tensor([-5.0, 0.0, 5.0])
    torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-5)


def test_it_starts_from_the_middle_of_the_texts_that_it_learns_from() -> None:
    model = make()
    model.start_from_(torch.tensor([0.7, 0.8, 0.9]), torch.tensor([0, 1, 1]))
    assert model.classifier.weight[:, 0].tolist() == [-5.0, 5.0]
    assert model.classifier.bias.tolist() == [4.0, -4.0]
    number = make(1)
    number.start_from_(torch.tensor([0.7, 0.8, 0.9]), torch.tensor([1.0, 2.0, 3.0]))
    assert number.classifier.weight.item() == pytest.approx(10.0)
    assert number.classifier.bias.item() == pytest.approx(2.0 - 8.0)
    number.start_from_(
        torch.tensor([0.8, 0.8]), torch.tensor([1.0, 3.0])
    )  # all alike: the scale stays finite
    assert number.classifier.weight.item() == pytest.approx(2**0.5 / 0.01)


@pytest.mark.parametrize(
    ("labels", "weights"),
    [
        ([0, 0, 1, 1, 2, 2], [-5.0, 0.0, 5.0]),
        ([2, 2, 1, 1, 0, 0], [5.0, 0.0, -5.0]),
        ([1, 1, 2, 2, 0, 0], [5.0, -5.0, 0.0]),
        ([0, 0, 0, 0, 0, 0], [-5.0, 0.0, 5.0]),  # classes without texts say nothing
        ([0, 2, 2, 0, 1, 1], [-5.0, 5.0, 0.0]),  # 0 and 2 are equally alike and stay as they stand, below 1
    ],
)
def test_the_class_of_the_most_alike_texts_gets_the_largest_weight(
    labels: list[int], weights: list[float]
) -> None:
    model = make(3)
    model.start_from_(torch.tensor([0.5, 0.5, 0.6, 0.6, 0.7, 0.7]), torch.tensor(labels))
    assert model.classifier.weight[:, 0].tolist() == weights
    torch.testing.assert_close(model.classifier.bias, -0.6 * model.classifier.weight[:, 0])


def test_it_learns_what_is_alike() -> None:
    model = make().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    labels = torch.tensor([0, 1])
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(input_ids=IDS[:2], attention_mask=MASK[:2], labels=labels).loss
        loss.backward()
        optimizer.step()
    logits = model.eval()(input_ids=IDS[:2], attention_mask=MASK[:2]).logits
    assert logits.argmax(1).tolist() == [0, 1]
    assert float(loss.detach()) < 0.3


def test_one_output_is_a_number_with_its_own_loss() -> None:
    model = make(1)
    found = model(input_ids=IDS, attention_mask=MASK, labels=torch.tensor([1.0, 2.0, 3.0]))
    assert found.logits.shape == (3, 1)
    wanted = (found.logits[:, 0] - torch.tensor([1.0, 2.0, 3.0])).square().mean()
    assert float(found.loss.detach()) == pytest.approx(float(wanted.detach()))


def test_it_is_built_again_from_its_config() -> None:
    model = make(3)
    copy = PairClassifier.from_config(model.config)
    copy.load_state_dict(model.state_dict())
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    assert torch.equal(copy.eval()(**inputs).logits, model(**inputs).logits)


def test_a_config_of_another_model_is_refused() -> None:
    from transformers import BertConfig

    with pytest.raises(ConfigError, match="pair_separator_token_id"):
        PairClassifier.from_config(BertConfig())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_labels": 0}, "num_labels is 0"),
        ({"separator_id": 60}, "separator_id is 60"),
        ({"first_id": -1}, "first_id is -1"),
    ],
)
def test_arguments_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"num_labels": 2, "separator_id": END, "first_id": FIRST, **change}
    with pytest.raises(ConfigError, match=message):
        PairClassifier(make().encoder, **arguments)


def test_long_texts_in_half_do_not_overflow() -> None:
    ids = torch.full((1, 4099), 5)
    ids[0, 0], ids[0, 2049], ids[0, 4098] = 2, 3, 3
    hidden = torch.full(
        (1, 4099, 8), 40.0, dtype=torch.float16
    )  # 2048 of them add up to 81920, halves end at 65504
    assert cosine_of_pairs(hidden, ids, torch.ones_like(ids), 3, 2).item() == pytest.approx(1.0)


def test_the_head_sees_fine_differences_under_autocast_too() -> None:
    model = make()
    cosines = torch.tensor([0.7500, 0.7505])  # one number in bfloat16
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        patch.setattr(model, "cosines", lambda *_: (cosines, {}))
        logits = model(IDS[:2]).logits
    assert logits.dtype == torch.float32
    weight, bias = model.classifier.weight, model.classifier.bias
    torch.testing.assert_close(logits, cosines[:, None] * weight[:, 0] + bias, rtol=0, atol=1e-6)
