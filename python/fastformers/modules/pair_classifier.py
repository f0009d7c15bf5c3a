# SPDX-License-Identifier: MIT
"""Classifies pairs of texts by how alike they are: the cosine of the mean vectors of both texts, one linear layer.

Encoders of sentence embeddings learned to put what means the same into the same direction, and have no trained first
token that a stock head could read. Both texts go through the encoder together, as they do under a stock head, so each
is read in the light of the other; then their tokens are averaged apart. What it gives: docs/results.md, COPA by
choices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastformers._optional import require
from fastformers.errors import ConfigError

__all__ = ["PairClassifier", "cosine_of_pairs"]

#: Difference of the last label's logit and the first one's for a cosine of 1, before any training. Cosines of COPA's
#: pairs by MiniLM have a standard deviation of 0.08, so that the logits differ by some 0.8.
_FIRST_SCALE = 10.0
#: Where the cosines of texts lie closer together than this, they are all alike to the encoder.
_LEAST_DEVIATION = 0.01


class PairClassifier(nn.Module):
    """An encoder of transformers with a head that compares both texts of a pair.

    ``logits = weight * cosine + bias``, the cosine that of the mean rows of the first and of the second text, special
    tokens left out. Labels are to say how alike the texts are; at first, the last one stands for the most alike, unless
    :meth:`start_from_` has seen which one does.

    Args:
        encoder: a base model (``AutoModel``); taken over, and its pooler, which nothing reads, taken out.
        num_labels: width of the logits; 1 for regression.
        separator_id: the token that ends each text.
        first_id: the special token before the first text; of a tokenizer without one, ``separator_id``.

    Attributes:
        encoder: the encoder.
        classifier: the linear layer from the cosine to the labels.
        config: the encoder's config with ``num_labels``, ``pair_separator_token_id`` and ``pair_first_token_id``.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> encoder = AutoModel.from_pretrained("minilm")  # doctest: +SKIP
        >>> model = PairClassifier(encoder, 2, separator_id=102, first_id=101)  # doctest: +SKIP
    """

    def __init__(self, encoder: Any, num_labels: int, *, separator_id: int, first_id: int) -> None:
        super().__init__()
        if num_labels < 1:
            raise ConfigError(f"num_labels is {num_labels}, must be at least 1")
        vocabulary = int(encoder.config.vocab_size)
        for name, value in (("separator_id", separator_id), ("first_id", first_id)):
            if not 0 <= value < vocabulary:
                raise ConfigError(f"{name} is {value}, must be from 0 to below {vocabulary}")
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        self.encoder = encoder
        self.config = encoder.config
        self.config.num_labels = num_labels
        self.config.pair_separator_token_id = separator_id
        self.config.pair_first_token_id = first_id
        self.classifier = nn.Linear(1, num_labels)
        half = _FIRST_SCALE / 2
        first = torch.linspace(-half, half, num_labels) if num_labels > 1 else torch.tensor([half])
        with torch.no_grad():
            self.classifier.weight.copy_(first[:, None])
            self.classifier.bias.zero_()
        outputs = require("transformers.modeling_outputs", "torch", "fastformers.modules.PairClassifier")
        self._output_class = outputs.SequenceClassifierOutput

    @classmethod
    def from_config(cls, config: Any) -> PairClassifier:
        """Builds the module with random weights from :attr:`config`, as it was saved.

        Raises:
            ConfigError: a field is missing or out of range.
        """
        transformers = require("transformers", "torch", "fastformers.modules.PairClassifier")
        missing = [
            name for name in ("pair_separator_token_id", "pair_first_token_id") if not hasattr(config, name)
        ]
        if missing:
            raise ConfigError(f"the config has no {missing[0]}: it is not of a pair classifier")
        encoder = transformers.AutoModel.from_config(config)
        return cls(
            encoder,
            config.num_labels,
            separator_id=config.pair_separator_token_id,
            first_id=config.pair_first_token_id,
        )

    def start_from_(self, cosines: Tensor, labels: Tensor) -> None:
        """Sets the head so that texts to be learned from lie in the middle of its range; call it before training.

        Encoders put any two sentences at a cosine well above 0 (MiniLM those of COPA's pairs at 0.75 in the mean), and
        to a head without a bias all of them would be alike. The largest weight goes to the class whose texts are the
        most alike; classes whose mean cosines differ by less than 0.01 keep their order.

        Args:
            cosines: of pairs of texts, shape [n], n >= 2.
            labels: their classes, int64, or for one output the numbers to predict, shape [n].
        """
        middle, spread = (
            round(float(cosines.mean()), 2),
            max(round(float(cosines.std()), 2), _LEAST_DEVIATION),
        )
        with torch.no_grad():
            weight, bias = self.classifier.weight[:, 0], self.classifier.bias
            if self.config.num_labels == 1:
                weight.fill_(float(labels.float().std()) / spread)
                bias.copy_(labels.float().mean() - middle * weight)
                return
            of_class = [cosines[labels == place] for place in range(self.config.num_labels)]
            means = [round(float(some.mean()), 2) if len(some) else middle for some in of_class]
            ascending = sorted(range(len(means)), key=means.__getitem__)
            weight[ascending] = weight.sort().values
            bias.copy_(-middle * weight)

    def cosines(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, Any]:
        """Returns the cosines of pairs, shape [batch], and what the encoder put out; arguments as :meth:`forward`."""
        given = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
        inputs = {name: tensor for name, tensor in given.items() if tensor is not None}
        encoded = self.encoder(input_ids=input_ids, **inputs, **options)
        keep = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if keep.dim() == 4:  # [batch, 1, 1, tokens], as encoders take it without a look at what is masked
            keep = keep[:, 0, 0]
        ids = int(self.config.pair_separator_token_id), int(self.config.pair_first_token_id)
        return cosine_of_pairs(encoded.last_hidden_state, input_ids, keep, *ids), encoded

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Returns transformers' ``SequenceClassifierOutput``.

        Args:
            input_ids: int64, shape [batch, tokens]; a row without a second text has the cosine 0.
            attention_mask: 1 for text, 0 for padding, shape [batch, tokens]; or boolean, [batch, 1, 1, tokens].
            token_type_ids: shape [batch, tokens].
            labels: shape [batch]; gives ``loss``: int64, the mean cross-entropy, or numbers, of one output, the mean
                squared error.
            options: to the encoder, e.g. ``output_hidden_states=True``.
        """
        cosine, encoded = self.cosines(input_ids, attention_mask, token_type_ids, **options)
        # In float32 under autocast, too: bfloat16 knows a cosine of 0.75 in steps of 0.004.
        with torch.autocast(input_ids.device.type, enabled=False):
            logits = self.classifier(cosine[:, None].to(self.classifier.weight.dtype))
        return self._output_class(
            loss=None if labels is None else _loss(logits, labels),
            logits=logits,
            hidden_states=encoded.get("hidden_states"),
            attentions=encoded.get("attentions"),
        )


def cosine_of_pairs(
    hidden: Tensor, input_ids: Tensor, attention_mask: Tensor, separator_id: int, first_id: int
) -> Tensor:
    """Takes the cosine of the mean rows of both texts.

    Args:
        hidden: shape [batch, tokens, channels].
        input_ids: shape [batch, tokens].
        attention_mask: 1 for text, 0 for padding, shape [batch, tokens].
        separator_id: the token that ends each text.
        first_id: the special token before the first text.

    Returns:
        Float32, shape [batch]; 0 where one of the texts has no token.
    """
    kept = attention_mask.bool()
    ends = (input_ids == separator_id) & kept
    text = kept & ~ends & (input_ids != first_id)
    is_first = ends.cumsum(1) == 0
    first, second = (_mean(hidden, text & part) for part in (is_first, ~is_first))
    return (nn.functional.normalize(first, dim=-1) * nn.functional.normalize(second, dim=-1)).sum(-1)


def _mean(hidden: Tensor, of: Tensor) -> Tensor:
    weights = of[..., None].to(hidden.dtype)
    total = (hidden * weights).sum(1, dtype=torch.float32)  # of a long text beyond the largest float16
    return total / of.sum(1, keepdim=True).clamp(min=1)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        return nn.functional.mse_loss(logits.squeeze(-1), labels)
    return nn.functional.cross_entropy(logits, labels)
