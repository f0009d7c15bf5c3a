# SPDX-License-Identifier: MIT
"""What training makes small: a module that gives the loss of a model on a batch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fastformers.tasks import accepted_inputs

__all__ = ["Objective", "TaskObjective"]


class Objective(nn.Module):
    """Base of losses; any module with the same ``forward`` does as well.

    Parameters of its own are trained along with the model's and kept in checkpoints, and thrown away with it after.
    A method ``describe()``, if there is one, returns a dict of JSON values: what decides the loss besides parameters
    and buffers, so that a work folder of another loss is told from one's own.
    """

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Returns the mean loss of the batch, a scalar.

        Args:
            model: the model that is trained.
            batch: tensors of :class:`fastformers.tasks.Collator`, and ``example``, int64 of shape [batch]: the index of
                each in the training set.
        """
        raise NotImplementedError


class TaskObjective(Objective):
    """The task's own loss: cross-entropy of the logits, or the squared error where labels are numbers.

    Example:
        >>> loss = TaskObjective()(model, Collator(tokenizer)(features))  # doctest: +SKIP
    """

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Returns the mean loss of the batch, a float32 scalar.

        Args:
            model: its output has ``.logits`` of shape [batch, outputs].
            batch: ``labels`` is int64 of shape [batch], or floating for numbers to predict.
        """
        logits = model(**accepted_inputs(model, batch)).logits.float()
        labels = batch["labels"]
        if labels.is_floating_point():
            return functional.mse_loss(logits[:, 0], labels.float())
        return functional.cross_entropy(logits, labels)
