# SPDX-License-Identifier: MIT
"""The teacher's logits, computed once: every epoch, and every run over the same data, reads them again.

A file in the cache is named by a digest of the teacher and of the tokens, and holds a digest of its own content: what
belongs to another teacher or other data is never found, and what was damaged is computed again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from fastformers.errors import FormatError, NonFiniteError, ShapeError
from fastformers.files.plain_file import read_plain_file
from fastformers.files.replaced_file import replace_file
from fastformers.modules.model_digest import bytes_of, config_facts, module_digest
from fastformers.tasks import EncodedExamples, predict_logits

__all__ = ["data_digest", "is_kept", "teacher_digest", "teacher_logits"]

_LOG = logging.getLogger(__name__)
_FORMAT = b"fastformers teacher logits 1"
_HEADER_BYTES = 4096
#: A file of logits, or what a killed run wrote of one.
_KEPT = re.compile(r"\.?teacher-[0-9a-f]{32}\.safetensors(-[0-9a-f]{12})?")


def teacher_logits(
    teacher: nn.Module,
    encoded: EncodedExamples,
    *,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    cache_dir: str | Path | None = None,
    fixed_length: int | None = None,
) -> Tensor:
    """Runs the teacher over all examples, in evaluation mode and without gradients, or reads what an earlier run kept.

    Args:
        teacher: on ``device``; its output has ``.logits``.
        encoded: the examples in the teacher's own tokenisation.
        batch_size: examples of a batch.
        device: where the batches go.
        cache_dir: folder of kept logits, made if missing; ``None`` keeps nothing on disk.
        fixed_length: as :func:`fastformers.tasks.predict_logits`.

    Returns:
        Float32 logits on the CPU, shape [examples, outputs], in the order of the examples.

    Raises:
        NonFiniteError: a logit is NaN or infinite; names the example.
        ShapeError: the teacher gives another number of outputs than the task has.
    """

    def compute() -> Tensor:
        rows = predict_logits(teacher, encoded, batch_size, device, fixed_length)
        logits = torch.from_numpy(rows)
        _check(logits, encoded)
        return logits

    digest = None if cache_dir is None else teacher_digest(teacher)
    if cache_dir is None or digest is None:
        return compute()
    key = hashlib.sha256(f"{digest} {data_digest(encoded)}".encode()).digest()
    return _kept(Path(cache_dir), key, (len(encoded), encoded.task.num_labels), compute)


def teacher_digest(teacher: nn.Module) -> str | None:
    """Returns the SHA-256 of a model's class, config, parameters and buffers as hexadecimal digits.

    Returns:
        ``None`` for a model that shows no state, such as a compiled encoder: two of them could not be told apart.
    """
    return module_digest(teacher, config_facts(teacher)) if teacher.state_dict() else None


def is_kept(path: Path) -> bool:
    """Whether a file's name is one that :func:`teacher_logits` gives."""
    return _KEPT.fullmatch(path.name) is not None


def data_digest(encoded: EncodedExamples) -> str:
    """Returns the SHA-256 of a task's name and of all that a model reads of its examples, as hexadecimal digits."""
    digest = hashlib.sha256(f"{encoded.task.name} {len(encoded)}".encode())
    for feature in encoded:
        tokens = {name: value for name, value in feature.items() if name != "labels"}
        digest.update(json.dumps(tokens, sort_keys=True).encode())
    return digest.hexdigest()


def _kept(folder: Path, key: bytes, shape: tuple[int, int], compute: Callable[[], Tensor]) -> Tensor:
    path = folder / f"teacher-{key.hex()[:32]}.safetensors"
    if path.exists():
        try:
            return _read(path, key, shape)
        except FormatError as error:
            _LOG.warning("%s; the teacher is run again", error)
    logits = compute()
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, save({"logits": logits, "digest": _seal(key, logits)}))
    return logits


def _read(path: Path, key: bytes, shape: tuple[int, int]) -> Tensor:
    try:
        content = load(read_plain_file(path, 4 * shape[0] * shape[1] + _HEADER_BYTES))
    except SafetensorError as error:
        raise FormatError(f"{path} is damaged: {error}") from error
    logits, digest = content.get("logits"), content.get("digest")
    if logits is None or digest is None or tuple(logits.shape) != shape or logits.dtype != torch.float32:
        raise FormatError(f"{path} is damaged: it must hold float32 logits of shape {list(shape)}")
    if not torch.equal(digest, _seal(key, logits)):
        raise FormatError(f"{path} is damaged: its content is not what was written")
    return logits


def _seal(key: bytes, logits: Tensor) -> Tensor:
    """SHA-256 over the key and the logits, as 32 bytes."""
    digest = hashlib.sha256(_FORMAT + key)
    digest.update(bytes_of(logits))
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def _check(logits: Tensor, encoded: EncodedExamples) -> None:
    expected = (len(encoded), encoded.task.num_labels)
    if tuple(logits.shape) != expected:
        raise ShapeError(
            f"the teacher gives logits of shape {list(logits.shape)}; {encoded.task.name} needs {list(expected)}"
        )
    finite = logits.isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise NonFiniteError(
            f"the teacher's logits of example {encoded.examples[row].guid} are {logits[row].tolist()}: "
            "train the teacher again, with a smaller learning rate"
        )
