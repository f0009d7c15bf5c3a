# SPDX-License-Identifier: MIT
"""``TorchModel``: texts in, answers out, on PyTorch: large batches of texts of similar length, for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastformers.answers import Prediction, class_names, has_many_labels, predictions, stacked, unpadded
from fastformers.config import TorchConfig
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.gpu.cuda_graphs import GraphedModel
from fastformers.gpu.devices import PeakMemory, device_facts, device_of
from fastformers.gpu.text_batches import Batch, TextBatches, batches_of, takes_attended_keys
from fastformers.modules.model_bytes import model_bytes
from fastformers.tokenization import Text, TokenizedText

__all__ = ["TorchModel"]

#: Batches whose texts are tokenized and sorted by length together, while the GPU computes those before.
_BATCHES_TOGETHER = 16


class TorchModel:
    """Texts in, answers out, computed by PyTorch on the device that the model is on.

    The GPU is given one batch after the other without waiting; texts are tokenized in blocks of 16 batches while it
    computes, and answers are fetched once, at the end. What is not masked is what a text has: no answer depends on
    padding, but for the rounding of products of other shapes.

    Args:
        model: of a family that :func:`fastformers.compile` takes, with a head that puts out logits, or a span
            classifier; in evaluation mode. In half: :func:`fastformers.to_fp16`.
        tokenizer: the model's, a fast one of transformers.
        config: size of batches, how they are padded, and how the model is called.

    Attributes:
        config: as given.
        max_length: tokens after which a text is cut.
        device: where the model is.

    Raises:
        UnsupportedModelError: the family is not known, the tokenizer has no fast version, or ``cuda_graphs`` is asked
            of a model that cannot be recorded; says why.
        ConfigError: the model is in training mode, or ``max_length`` is more than it takes.
        DeviceError: the model is on several devices, or ``cuda_graphs`` is asked for on a CPU.

    Not for several threads at once.

    Example:
        >>> model = ff.TorchModel(ff.to_fp16(model.cuda()), tokenizer)  # doctest: +SKIP
        >>> model.predict(["great phone", "awful"])  # doctest: +SKIP
    """

    def __init__(self, model: nn.Module, tokenizer: Any, config: TorchConfig | None = None) -> None:
        self.config = config or TorchConfig()
        if model.training:
            raise ConfigError("the model is in training mode: call model.eval() first")
        self._model = model
        self._batches = TextBatches(model, tokenizer, self.config.max_length)
        self.max_length = self._batches.max_length
        self.device = device_of(model)
        self._attended_keys = takes_attended_keys(model)
        self._memory = PeakMemory(self.device)
        self._call = self._caller()

    def predict(self, texts: Sequence[Text]) -> list[Prediction]:
        """Returns the most probable label of each text (or pair) and its probability, in the order given.

        Raises:
            UnsupportedModelError: the model does not classify whole texts.
        """
        if not texts:
            return []
        found = self.logits(texts)
        if isinstance(found, list):
            raise UnsupportedModelError("the model gives logits for each token, not for whole texts")
        problem_type = getattr(self._model.config, "problem_type", None)
        return predictions(found, self.labels, many_labels=has_many_labels(problem_type))

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Returns the model's logits: float32 [n, C]; of a model that classifies tokens, n arrays [tokens, C].

        Args:
            texts: strings, pairs, or :class:`fastformers.SpanText` for a span classifier.

        Raises:
            UnsupportedModelError: the model puts out no logits.
            ShapeError: an entry is none of these, or has no tokens.
        """
        size = _BATCHES_TOGETHER * self.config.batch_size
        launched = []
        for start in range(0, len(texts), size):
            encoded = self._batches.encode(texts[start : start + size])
            launched.append(_Launched(encoded, self._launch(encoded)))
        return _fetched(launched)

    def encode(self, texts: Sequence[Text]) -> list[TokenizedText]:
        """Tokenizes texts, for :meth:`logits_of_tokens`."""
        return self._batches.encode(texts)

    def logits_of_tokens(
        self, texts: Sequence[TokenizedText]
    ) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Returns the logits of texts that are tokenized already, all cut into batches together; see :meth:`logits`."""
        return _fetched([_Launched(texts, self._launch(texts))])

    def padding_share(self, texts: Sequence[Text]) -> float:
        """Returns the share (0 to 1) of padding among the tokens that :meth:`logits_of_tokens` computes."""
        lengths = [len(text) for text in self._batches.encode(texts)]
        if not lengths:
            return 0.0
        batches = batches_of(lengths, self.config, self.max_length)
        return 1 - sum(lengths) / sum(len(batch.texts) * batch.length for batch in batches)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes; ``None`` where the model names none."""
        config: Any = self._model.config
        return class_names(getattr(config, "id2label", None))

    @property
    def memory_bytes(self) -> int:
        """Bytes of weights, and on a GPU the most scratch memory that a call has taken so far."""
        return model_bytes(self._model) + self._memory.scratch_bytes

    def facts(self) -> dict[str, Any]:
        """Returns what a report says of this model: device, dtype, attention and settings, as JSON values."""
        return {
            "device": device_facts(self.device),
            "dtype": str(next(self._model.parameters()).dtype).removeprefix("torch."),
            **self.config.to_dict(),
            "max_length": self.max_length,
        }

    def _caller(self) -> Callable[..., Tensor]:
        if self.config.cuda_graphs:
            if not self._attended_keys:
                raise UnsupportedModelError(
                    f"{type(self._model).__name__} as it is waits for the GPU inside a call, which cannot be recorded: "
                    "take fused attention (ff.to_fp16; ModernBERT has no way), or leave cuda_graphs out"
                )
            return GraphedModel(self._model)
        model: Any = torch.compile(self._model, dynamic=True) if self.config.compile else self._model

        def call(**inputs: Tensor) -> Tensor:
            logits = getattr(model(**inputs), "logits", None)
            if not isinstance(logits, Tensor):
                raise UnsupportedModelError(
                    f"{type(self._model).__name__} puts out no logits: TorchModel answers with those"
                )
            return logits

        return call

    @torch.inference_mode()
    def _launch(self, encoded: Sequence[TokenizedText]) -> list[tuple[Batch, Tensor]]:
        """Gives the device all batches; their logits may not be there yet."""
        found = []
        with self._memory:
            for batch in batches_of([len(text) for text in encoded], self.config, self.max_length):
                found.append((batch, self._logits(batch, encoded)))
        return found

    def _logits(self, batch: Batch, encoded: Sequence[TokenizedText]) -> Tensor:
        texts = [encoded[place] for place in batch.texts]
        if self.config.cuda_graphs:  # one shape for the last batch too
            texts += [texts[-1]] * (self.config.batch_size - len(texts))
        inputs = self._batches.tensors(texts, batch.length, self.device)
        padded = any(len(text) < batch.length for text in texts)
        one_form = self.config.cuda_graphs or self.config.compile
        if self._attended_keys and (padded or one_form):
            inputs["attention_mask"] = inputs["attention_mask"].bool()[:, None, None]
        elif self._attended_keys:  # given one, transformers waits for the GPU to see that nothing is masked
            del inputs["attention_mask"]
        return self._call(**inputs)[: len(batch.texts)]


@dataclass(frozen=True)
class _Launched:
    """Texts, and the logits of their batches, which may not be computed yet."""

    texts: Sequence[TokenizedText]
    batches: Sequence[tuple[Batch, Tensor]]


def _fetched(blocks: Sequence[_Launched]) -> NDArray[np.float32] | list[NDArray[np.float32]]:
    """Logits of all blocks in the order of their texts; waits for them."""
    rows: list[NDArray[np.float32]] = []
    for block in blocks:
        found = ((batch.texts, logits.float().cpu().numpy()) for batch, logits in block.batches)
        rows += unpadded(found, list(map(len, block.texts)))
    return rows if rows and rows[0].ndim == 2 else stacked(rows)
