# SPDX-License-Identifier: MIT
"""How much a model's answers changed: compares what it says on the same examples before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastformers.errors import CalibrationError
from fastformers.quantization.inputs import Batch, Examples

__all__ = ["Agreement", "Answers", "compare_answers", "record_answers"]


@dataclass(frozen=True)
class Agreement:
    """What :func:`fastformers.quantize_` measured on the calibration examples, INT8 against float32.

    Attributes:
        examples: texts compared.
        cosine_mean: mean over the texts of the cosine between the two embeddings (last hidden states, averaged
            over a text's tokens; the output itself for models other than transformers).
        cosine_worst: the smallest of them.
        nearest_neighbor: share (0 to 1) of texts whose nearest other text, by cosine, is the same; None with
            fewer than three texts.
        disagreement: share (0 to 1) of answers that differ, what ``max_disagreement`` limits.
        disagreement_of: what counts as an answer: the class with the largest logit, the order of two scores, or
            (for embedders) the nearest neighbour.
    """

    examples: int
    cosine_mean: float
    cosine_worst: float
    nearest_neighbor: float | None
    disagreement: float
    disagreement_of: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Answers:
    """A model's answers to all examples, in their order.

    Attributes:
        embeddings: float32 [examples, width].
        choices: per example the indices of its largest logits; None for a model without logits.
        scores: float32 [examples], the logit of a model with only one; else None.
    """

    embeddings: Tensor
    choices: list[Tensor] | None
    scores: Tensor | None


def record_answers(
    model: nn.Module, examples: Examples, progress: Callable[[int, int], None] | None = None
) -> Answers:
    """Runs the model over the examples and keeps what :func:`compare_answers` needs: little, whatever their length.

    Args:
        model: in evaluation mode.
        examples: what to run.
        progress: called with (batches done, batches).

    Raises:
        CalibrationError: the model fails on the examples, its answers are not finite, or they are not one for each
            example and of one size.
    """
    rows: dict[int, tuple[Tensor, Tensor | None]] = {}
    for done, batch in enumerate(examples.batches, start=1):
        hidden, logits = _run(model, batch)
        embedded = _by_example(_embed(hidden, batch.mask), logits, len(batch.positions), type(model).__name__)
        for row, position in enumerate(batch.positions):
            rows[position] = (embedded[row], None if logits is None else _choice(logits, row, batch.mask))
        if progress is not None:
            progress(done, len(examples.batches))
    ordered = [rows[position] for position in sorted(rows)]
    widths = sorted({embedding.numel() for embedding, _ in ordered})
    if len(widths) > 1:
        raise CalibrationError(
            f"the outputs of {type(model).__name__} have {widths[0]} to {widths[-1]} numbers an example, which cannot "
            "be compared with each other: give example inputs of one shape"
        )
    embeddings = torch.stack([embedding for embedding, _ in ordered])
    if not bool(torch.isfinite(embeddings).all()):
        raise CalibrationError(
            "the model's outputs on these examples hold NaN or infinity: nothing can be compared"
        )
    answers = [answer for _, answer in ordered if answer is not None]
    if answers and answers[0].is_floating_point():
        return Answers(embeddings, None, torch.stack(answers))
    return Answers(embeddings, answers or None, None)


def compare_answers(before: Answers, after: Answers) -> Agreement:
    """Compares two sets of answers to the same examples."""
    cosines = F.cosine_similarity(before.embeddings, after.embeddings, dim=1)
    neighbor = _nearest_neighbor_agreement(before.embeddings, after.embeddings)
    if before.choices is not None and after.choices is not None:
        pairs = list(zip(before.choices, after.choices, strict=True))
        differing = sum(int((one != other).sum()) for one, other in pairs)
        disagreement = differing / max(1, sum(one.numel() for one, _ in pairs))
        of = "the class with the largest logit"
    elif before.scores is not None and after.scores is not None:
        disagreement, of = _discordance(before.scores, after.scores), "the order of two texts' scores"
    elif neighbor is not None:
        disagreement, of = 1.0 - neighbor, "the nearest other text"
    else:
        disagreement, of = 1.0 - float(cosines.min()), "1 - cosine, for want of more texts"
    return Agreement(len(cosines), float(cosines.mean()), float(cosines.min()), neighbor, disagreement, of)


def _run(model: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor] | None]:
    """One forward pass: (hidden states or whatever the model returns first, logits)."""
    kept: list[Any] = []
    encoder = getattr(model, "base_model", None)
    hook = None
    if isinstance(encoder, nn.Module) and encoder is not model:
        hook = encoder.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        with torch.no_grad():
            output = model(**batch.inputs)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise CalibrationError(
            f"{type(model).__name__} fails on the calibration examples ({type(error).__name__}: {error}); do the "
            "tokenizer and the examples belong to this model?"
        ) from error
    finally:
        if hook is not None:
            hook.remove()
    hidden = _first_tensor(kept[0] if kept else output)
    return hidden, _logits(output, has_head=hook is not None)


def _by_example(embedded: Tensor, logits: list[Tensor] | None, examples: int, name: str) -> Tensor:
    """One row per example; a model of multiple choice has as many rows for each as there are choices."""
    odd = next((part for part in logits or () if part.dim() == 0 or part.shape[0] != examples), None)
    if odd is None and embedded.shape[0] % examples == 0:
        return embedded.reshape(examples, -1)
    shape = list((embedded if odd is None else odd).shape)
    raise CalibrationError(
        f"{name} puts out shape {shape} for {examples} examples: they must lie along the first dimension of its inputs "
        "and of its outputs"
    )


def _first_tensor(output: Any) -> Tensor:
    named = _field(output, "last_hidden_state")
    found = output if named is None else named
    if isinstance(found, Mapping):
        found = tuple(found.values())
    if isinstance(found, tuple | list):
        found = next((part for part in found if isinstance(part, Tensor) and part.is_floating_point()), None)
    if not isinstance(found, Tensor):
        raise CalibrationError(
            f"cannot compare outputs of type {type(output).__name__}: they hold no float tensor"
        )
    return found.float()


def _logits(output: Any, has_head: bool) -> list[Tensor] | None:
    if isinstance(
        output, Tensor
    ):  # any torch model: the largest of a row of outputs is its answer, or its only one
        return [output] if output.dim() in (1, 2) else None
    names = ("logits",) if _field(output, "start_logits") is None else ("start_logits", "end_logits")
    found = [_field(output, name) for name in names]
    if has_head and found == [None] and isinstance(output, tuple | list):
        return _first_logits(output)
    return [logits for logits in found if isinstance(logits, Tensor)] or None


def _first_logits(output: Sequence[Any]) -> list[Tensor] | None:
    """Of a model of transformers with ``return_dict=False``: the logits come first, of spans both ends."""
    scores = [part for part in output if isinstance(part, Tensor) and part.is_floating_point()]
    spans = len(scores) > 1 and scores[0].dim() == 2 and scores[0].shape == scores[1].shape
    return scores[: 2 if spans else 1] or None


def _field(output: Any, name: str) -> Any:
    """What an output, an object or a mapping, calls by this name; None for nothing."""
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def _embed(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """One vector per example: the mean over its tokens, or the output itself."""
    if hidden.dim() == 3 and mask is not None and mask.shape == hidden.shape[:2]:
        weights = mask.unsqueeze(-1).float()
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
    if hidden.dim() < 2:
        return hidden.reshape(-1, 1)
    return hidden.mean(1) if hidden.dim() == 3 else hidden.flatten(1)


def _choice(logits: list[Tensor], row: int, mask: Tensor | None) -> Tensor:
    """An example's answer: indices of the largest logits, or the one score itself."""
    if len(logits) == 2:  # start and end of a span
        ends = [_valid(part[row], mask, row).argmax() for part in logits]
        return torch.stack(ends)
    own = logits[0][row]
    if own.numel() == 1:
        return own.float().reshape(())
    if own.dim() == 1:
        return own.argmax().reshape(1)
    return _valid(own, mask, row).argmax(-1).flatten()


def _valid(values: Tensor, mask: Tensor | None, row: int) -> Tensor:
    """The values of a row's real tokens."""
    if mask is None or values.shape[0] != mask.shape[1]:
        return values
    return values[mask[row]]


def _nearest_neighbor_agreement(before: Tensor, after: Tensor) -> float | None:
    if len(before) < 3:
        return None
    nearest = []
    for embeddings in (before, after):
        unit = F.normalize(embeddings, dim=1)
        nearest.append((unit @ unit.T).fill_diagonal_(-2.0).argmax(1))
    return float((nearest[0] == nearest[1]).float().mean())


def _discordance(before: Tensor, after: Tensor) -> float:
    """Share of pairs of examples that the two score in another order."""
    upper = torch.ones(len(before), len(before)).triu(1).bool()
    orders = [torch.sign(scores[:, None] - scores[None, :])[upper] for scores in (before, after)]
    return float((orders[0] != orders[1]).float().mean())
