# SPDX-License-Identifier: MIT
"""The loss of a student's training step: soft logits always, labels and what is inside the models where asked for.

Logits come from :mod:`fastformers.distillation.teacher_outputs`, computed before training. Losses of tokens need the
teacher itself in every step, on the student's own batch: both must cut texts into the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastformers.config import DistillConfig
from fastformers.distillation import losses
from fastformers.distillation.inside import Inside, Wanted, head_count, run
from fastformers.distillation.layer_map import LayerPairs, layer_pairs
from fastformers.distillation.teacher_outputs import data_digest, teacher_digest
from fastformers.distillation.token_types import TokenTypes
from fastformers.errors import ConfigError, ShapeError, UnsupportedModelError
from fastformers.files.digests import sha256_of
from fastformers.modules.encoder_names import parts_of
from fastformers.modules.model_digest import bytes_of
from fastformers.tasks import EncodedExamples

__all__ = ["DistillObjective", "compared_layers"]

_HIDDEN_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mse": losses.mse_loss,
    "cosine": losses.cosine_loss,
}


class DistillObjective(nn.Module):
    """Called as ``objective(student, batch)``; gives the scalar loss of a training step.

    For each example ``(1 - hard) x soft + hard x labels' loss``, or the soft loss alone where the label is unknown; the
    mean over the batch; then, each with its weight, the loss of the embeddings, the mean over layer pairs of the hidden
    states' loss, and that of attention's.

    Args:
        student: the model that will be trained; only read here.
        teacher: put into evaluation mode and onto the student's device when it is needed, and else left alone: it is no
            part of this module.
        train: the examples in the student's tokenisation.
        logits: the teacher's for the same examples, float32, shape [examples, outputs].
        config: weights and kinds of the losses.
        teacher_train: the same examples in the teacher's tokenisation, whose token types it reads in losses of tokens:
            a student's tokenizer, e.g. DistilBERT's, may give none. ``None``: it reads the student's.

    Attributes:
        pairs: (student's layer, teacher's layer) of the losses of hidden states and attention.
        projections: learned linear layers from the student's width to the teacher's, ``"embeddings"`` and
            ``"hidden_states"``; only where the widths differ and the loss is in use.

    Raises:
        ShapeError: ``logits`` does not fit the examples.
        ConfigError: the layer map does not fit the models, or attention probabilities of different numbers of heads.
        UnsupportedModelError: a loss of tokens between models of unknown families, or of a compiled teacher.

    Example:
        >>> objective = DistillObjective(student, teacher, train, logits, DistillConfig())  # doctest: +SKIP
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        train: EncodedExamples,
        logits: Tensor,
        config: DistillConfig,
        teacher_train: EncodedExamples | None = None,
    ) -> None:
        super().__init__()
        if tuple(logits.shape) != (len(train), train.task.num_labels):
            raise ShapeError(
                f"the teacher's logits have shape {list(logits.shape)}, must be "
                f"{[len(train), train.task.num_labels]}"
            )
        self.config = config
        self._regression = train.task.kind == "regression"
        self._teacher = (teacher,)  # in a tuple, so that it is no part of what is trained and saved
        self._read = train if teacher_train is None else teacher_train
        self._types = TokenTypes.of(train, teacher_train if config.looks_at_tokens else None)
        self._layers_and_heads(student, teacher)
        self.projections = _projections(student, teacher, config)
        self.register_buffer("logits", logits.float(), persistent=False)
        self.register_buffer("labels", _labels(train), persistent=False)
        self.logits: Tensor
        self.labels: Tensor

    def forward(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Returns the mean loss of a batch, a float32 scalar.

        Args:
            model: the student.
            batch: the collator's tensors, int64 of shape [batch, tokens], and ``example``, int64 of shape [batch]: the
                index of each in ``train``. ``labels`` is not read: the objective knows the labels.
        """
        student, teacher = run(model, batch, self._wanted[0]), None
        device = student.logits.device
        if self._wanted[1] != Wanted():
            with torch.no_grad():
                teacher = run(self._ready_teacher(device), self._types.put_into(batch), self._wanted[1])
        with torch.autocast(device.type, enabled=False):  # losses are sums of small differences
            loss = self._of_logits(student.logits, batch["example"])
            if teacher is None:
                return loss
            return loss + self._of_tokens(student, teacher, batch["attention_mask"])

    def describe(self) -> dict[str, Any]:
        """Returns what decides the loss, as JSON values: the config, but not how to train, the teacher and its tokens.

        A teacher that shows no state is known by its logits.
        """
        facts = {name: value for name, value in self.config.to_dict().items() if name != "train"}
        return {
            **facts,
            "layer_pairs": [list(pair) for pair in self.pairs],
            "teacher": teacher_digest(self._teacher[0]) or sha256_of(bytes_of(self.logits)),
            "teacher_tokens": data_digest(self._read),
        }

    def _of_logits(self, student: Tensor, example: Tensor) -> Tensor:
        example = example.to(self.logits.device)
        teacher, labels = self.logits[example], self.labels[example]
        known = ~labels.isnan()
        if self._regression:
            soft = losses.score_loss(student, teacher)
            hard = losses.score_loss(student, labels.nan_to_num()[:, None])
        else:
            soft = losses.soft_loss(student, teacher, self.config.temperature)
            hard = functional.cross_entropy(student.float(), labels.nan_to_num().long(), reduction="none")
        share = known * self.config.hard_labels
        return ((1.0 - share) * soft + share * hard).mean()

    def _of_tokens(self, student: Inside, teacher: Inside, mask: Tensor) -> Tensor:
        total = student.logits.new_zeros((), dtype=torch.float32)
        if self.config.embeddings:
            total = total + self.config.embeddings * self._hidden("embeddings", student, teacher, 0, 0, mask)
        if self.config.hidden_states:
            found = [
                self._hidden("hidden_states", student, teacher, ours + 1, theirs + 1, mask)
                for ours, theirs in self.pairs
            ]
            total = total + self.config.hidden_states * torch.stack(found).mean()
        if self.config.attention:
            found = [self._attention(student, teacher, pair, mask) for pair in self.pairs]
            total = total + self.config.attention * torch.stack(found).mean()
        return total

    def _hidden(
        self, name: str, student: Inside, teacher: Inside, ours: int, theirs: int, mask: Tensor
    ) -> Tensor:
        hidden = student.hidden_states[ours]
        if name in self.projections:
            hidden = self.projections[name](hidden.float())
        return _HIDDEN_LOSSES[self.config.hidden_distance](hidden, teacher.hidden_states[theirs], mask)

    def _attention(self, student: Inside, teacher: Inside, pair: tuple[int, int], mask: Tensor) -> Tensor:
        ours, theirs = pair
        if self.config.attention_kind == "probabilities":
            return losses.attention_loss(student.attentions[ours], teacher.attentions[theirs], mask)
        terms = [
            losses.relation_loss(
                one, other, mask, losses.relation_heads(one.shape[-1], other.shape[-1], self._most_heads)
            )
            for one, other in zip(student.vectors[ours], teacher.vectors[theirs], strict=True)
        ]
        return torch.stack(terms).mean()

    def _layers_and_heads(self, student: nn.Module, teacher: nn.Module) -> None:
        """Decides the layer pairs and what the forward passes must show."""
        config = self.config
        self.pairs = compared_layers(student, teacher, config)
        self._wanted = (Wanted(), Wanted())
        if not config.looks_at_tokens:
            return
        self._most_heads = max(head_count(parts_of(teacher), layer) for _, layer in self.pairs)
        probabilities = _compares_probabilities(config)
        relations = bool(config.attention) and not probabilities
        hidden = bool(config.embeddings or config.hidden_states)
        self._wanted = (
            Wanted(hidden, probabilities, tuple(one for one, _ in self.pairs) if relations else ()),
            Wanted(
                hidden, probabilities, tuple(sorted({other for _, other in self.pairs})) if relations else ()
            ),
        )

    def _ready_teacher(self, device: torch.device) -> nn.Module:
        (teacher,) = self._teacher
        if teacher.training:
            teacher.eval()
        parameter = next(teacher.parameters(), None)
        if parameter is not None and parameter.device != device:
            teacher.to(device)
        return teacher


def compared_layers(student: nn.Module, teacher: nn.Module, config: DistillConfig) -> LayerPairs:
    """Returns the layers that losses of tokens compare, (student's, teacher's); none where no such loss is in use.

    Args:
        student: the student.
        teacher: the teacher; neither is run.
        config: which losses are in use, and the layer map.

    Raises:
        ConfigError, UnsupportedModelError: as :class:`DistillObjective`.
    """
    if not config.looks_at_tokens:
        return ()
    if not teacher.state_dict():
        raise UnsupportedModelError(
            "the teacher is compiled and shows only its logits: set embeddings, hidden_states and attention to 0, or "
            "take the model that it was made of"
        )
    ours, theirs = parts_of(student), parts_of(teacher)
    pairs = layer_pairs(config.layer_map, len(ours.layers), len(theirs.layers))
    for one, other in pairs if _compares_probabilities(config) else ():
        heads = head_count(ours, one), head_count(theirs, other)
        if heads[0] != heads[1]:
            raise ConfigError(
                f"attention probabilities need equal numbers of heads: layer {one} of the student has "
                f"{heads[0]}, layer {other} of the teacher {heads[1]}; use attention_kind='relations'"
            )
    return pairs


def _compares_probabilities(config: DistillConfig) -> bool:
    return bool(config.attention) and config.attention_kind == "probabilities"


def _projections(student: nn.Module, teacher: nn.Module, config: DistillConfig) -> nn.ModuleDict:
    """Linear layers where a loss compares hidden states of different widths; the same random weights every time."""
    weights = {"embeddings": config.embeddings, "hidden_states": config.hidden_states}
    found = nn.ModuleDict()
    for name in (name for name, weight in weights.items() if weight):
        ours, theirs = (int(parts_of(model).encoder.config.hidden_size) for model in (student, teacher))
        if ours != theirs:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.train.seed)
                found[name] = nn.Linear(ours, theirs, bias=False)
    return found


def _labels(train: EncodedExamples) -> Tensor:
    """Labels as float64, NaN where unknown; class indices are exact in it."""
    return torch.tensor([feature.get("labels", float("nan")) for feature in train], dtype=torch.float64)
