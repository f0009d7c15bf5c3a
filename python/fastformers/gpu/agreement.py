# SPDX-License-Identifier: MIT
"""How far a model in half is from the same model in float32, on texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.config import TorchConfig
from fastformers.counted import counted
from fastformers.errors import ConfigError, NonFiniteError
from fastformers.gpu.text_batches import TextBatches, batches_of
from fastformers.modules.encoder_names import parts_of
from fastformers.tasks.prediction import evaluating
from fastformers.tokenization import Text

__all__ = ["HalfAgreement", "compare_with_float32"]

_BATCH = TorchConfig(batch_size=32)


@dataclass(frozen=True)
class HalfAgreement:
    """Half against float32.

    Attributes:
        texts: compared.
        cosine_mean: mean over the texts of the cosine between the two means of a text's last hidden states.
        cosine_worst: the smallest of them.
        max_difference: largest absolute difference between two logits; of a model without, between two channels of
            those means.
        changed: share (0 to 1) of the texts, or tokens, whose largest logit is another; ``None`` for a model without
            logits or with a single one.
    """

    texts: int
    cosine_mean: float
    cosine_worst: float
    max_difference: float
    changed: float | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """Returns one line."""
        changed = "" if self.changed is None else f", {100 * self.changed:.2f} % of the answers changed"
        return (
            f"{counted(self.texts, 'text')}: cosine with float32 {self.cosine_mean:.6f} in the mean, "
            f"{self.cosine_worst:.6f} at worst; largest difference {self.max_difference:.2g}{changed}"
        )


def compare_with_float32(
    model: nn.Module, half: nn.Module, tokenizer: Any, texts: Sequence[Text]
) -> HalfAgreement:
    """Runs two forms of a model over the same texts.

    Args:
        model: the original, in float32.
        half: the same in half, on the same device.
        tokenizer: of both.
        texts: at least one; :class:`fastformers.SpanText` for a span classifier.

    Raises:
        ConfigError: no texts.
        NonFiniteError: a hidden state or logit in half is not finite; names the first module that put one out.
    """
    if not texts:
        raise ConfigError("there are no texts to compare half and float32 on")
    batches = TextBatches(model, tokenizer)
    encoded = batches.encode(texts)
    device = next(model.parameters()).device
    cosines: list[Tensor] = []
    differences, changed, answers = [0.0], 0, 0
    for batch in batches_of([len(text) for text in encoded], _BATCH, batches.max_length):
        inputs = batches.tensors([encoded[place] for place in batch.texts], batch.length, device)
        mask = inputs["attention_mask"].bool()
        (one, hidden), (other, half_hidden) = _run(model, inputs, mask), _run(half, inputs, mask)
        if not bool(torch.isfinite(half_hidden).all()) or not all(
            bool(torch.isfinite(x).all()) for x in other
        ):
            raise NonFiniteError(
                f"half overflows on these texts, first in {_first_overflow(half, inputs)}: this model has to stay "
                "float32 or bfloat16"
            )
        cosines.append(nn.functional.cosine_similarity(hidden, half_hidden, dim=1))
        compared = list(zip(one, other, strict=True)) or [(hidden, half_hidden)]
        differences += [float((left - right).abs().max()) for left, right in compared]
        for left, right in zip(one, other, strict=True):
            if left.shape[-1] > 1:
                answers += left[..., 0].numel()
                changed += int((left.argmax(-1) != right.argmax(-1)).sum())
    every = torch.cat(cosines)
    return HalfAgreement(
        texts=len(texts),
        cosine_mean=float(every.mean()),
        cosine_worst=float(every.min()),
        max_difference=max(differences),
        changed=changed / answers if answers else None,
    )


@torch.inference_mode()
def _run(model: nn.Module, inputs: dict[str, Tensor], mask: Tensor) -> tuple[list[Tensor], Tensor]:
    """Logits of a batch, one row an answer; mean of each text's last hidden states. All float32."""
    kept: list[Tensor] = []
    encoder: nn.Module = parts_of(model).encoder
    with evaluating(model), _hooked(encoder, lambda _module, output: kept.append(_hidden(output))):
        output = model(**inputs)
    weights = mask.unsqueeze(-1).float()
    pooled = (kept[0].float() * weights).sum(1) / weights.sum(1)
    found = [getattr(output, name, None) for name in ("logits", "start_logits", "end_logits")]
    logits = [each.float() for each in found if isinstance(each, Tensor)]
    of_tokens = len(logits) == 1 and logits[0].dim() == 3
    if len(logits) == 2:  # start and end of an answer: scores of the tokens, a row for each text
        logits = [each.masked_fill(~mask, -1e4) for each in logits]
    return [logits[0][mask]] if of_tokens else logits, pooled


def _first_overflow(model: nn.Module, inputs: dict[str, Tensor]) -> str:
    """Name of the first module that puts out a number that is not finite."""
    found: list[str] = []
    names = {module: name for name, module in model.named_modules() if not list(module.children())}

    def look(module: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and not bool(output.isfinite().all()):
            found.append(names[module])

    with torch.inference_mode(), _hooked_all(list(names), look):
        model(**inputs)
    return found[0] if found else "attention"


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output[0]
    return hidden


@contextmanager
def _hooked(module: nn.Module, look: Callable[[nn.Module, Any], None]) -> Iterator[None]:
    with _hooked_all([module], look):
        yield


@contextmanager
def _hooked_all(modules: Sequence[nn.Module], look: Callable[[nn.Module, Any], None]) -> Iterator[None]:
    hooks = [
        module.register_forward_hook(lambda module, _inputs, output: look(module, output))
        for module in modules
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
