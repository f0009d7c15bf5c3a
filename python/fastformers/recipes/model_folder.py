# SPDX-License-Identifier: MIT
"""Opens any folder that holds a model, and saves one that the next command takes: every verb's first and last step.

Three kinds of folders are told apart by what they hold: transformers' own, ours with a torch model
(``fastformers.json``), and ours with a compiled encoder. ``task.json`` says what the model answers, if it lies there.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from fastformers._optional import require
from fastformers.answers import given_class_names, has_many_labels, same_classes
from fastformers.config import Head
from fastformers.errors import ConfigError, FormatError, UnsupportedModelError
from fastformers.files.extra_files import ExtraFiles
from fastformers.files.fields import ENCODER_FORMAT, MANIFEST, TORCH_FORMAT
from fastformers.files.saved_format import saved_format
from fastformers.files.strict_json import read_json
from fastformers.modules.encoder_names import positions_of
from fastformers.modules.float_weights import with_float32_weights
from fastformers.quantization.artefact import load_pretrained_torch
from fastformers.quiet_loading import quiet_loading
from fastformers.recipes.artefacts import load, save_pretrained
from fastformers.recipes.sentence_folder import cut_as_folder_says, is_sentence_folder
from fastformers.rewriting import Encoder
from fastformers.tasks import TASK_FILE, EncodedExamples, Example, Task, TaskFile, build_model
from fastformers.tasks.custom import task_with_labels
from fastformers.tasks.loading import have_pairs

__all__ = [
    "LONGEST",
    "OpenedModel",
    "described",
    "learned_from",
    "open_for_task",
    "open_model",
    "save_model",
]

_LOG = logging.getLogger(__name__)

#: Tokens after which texts are cut in training where nobody says it.
LONGEST = 256

#: Without any of these transformers makes an empty tokenizer and says nothing.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model")


@dataclass(frozen=True)
class OpenedModel:
    """What a folder holds.

    Attributes:
        model: in evaluation mode; a torch model, or a compiled encoder, which is called like one.
        tokenizer: of transformers; its limit is the task file's, if there is one.
        task_file: what the model answers; ``None`` where the folder does not say it.
        folder: where it came from.
    """

    model: nn.Module
    tokenizer: Any
    task_file: TaskFile | None
    folder: Path

    def required_task(self) -> TaskFile:
        """Returns the task file; of a classifier that someone else trained, one with the class names of its config.

        Such a one cuts texts where model and tokenizer do: as it is served, it is scored.

        Raises:
            ConfigError: the folder has none, and the config names no classes.
        """
        found = self.task_file or _named_task(self.model, self.tokenizer)
        if found is None:
            raise ConfigError(
                f"{self.folder} holds no {TASK_FILE}, and its config.json names no classes (id2label) that exclude "
                "each other, so it is not known what the model answers: take a folder that fastformers trained, write "
                "the names there, or save the task beside the model, whose outputs must be in the order of its labels: "
                f"TaskFile(get_task('boolq'), {LONGEST}).save(folder)"
            )
        return found

    def encode(self, examples: Sequence[Example]) -> EncodedExamples:
        """Tokenises examples of the model's task as its task file says; those that lose a span are left out.

        Raises:
            ConfigError: as :meth:`required_task`.
        """
        return self.required_task().encode(examples, self.tokenizer)

    def check_not_compiled(self, done: str) -> None:
        """Checks that the model has layers which can be changed; ``done`` says to what end, e.g. ``"pruned"``.

        Raises:
            UnsupportedModelError: it is compiled.
        """
        if isinstance(self.model, Encoder):
            raise UnsupportedModelError(
                f"{self.folder} holds a compiled encoder, which cannot be {done}: take the model it was made of"
            )


def open_model(folder: str | Path) -> OpenedModel:
    """Loads the model, the tokenizer and the task of a folder; nothing is fetched from a hub.

    Args:
        folder: of a model that transformers or fastformers saved, compiled ones included.

    Raises:
        ConfigError: it is no folder, or holds no model.
        FormatError: a file of it is damaged, or transformers cannot load it.
        UnsupportedModelError: the checkpoint is incomplete for its task.
        MissingExtraError: transformers is not installed.

    Example:
        >>> open_model("my-bert").task_file.task.name  # doctest: +SKIP
        'boolq'
    """
    path = _checked(folder)
    task_file = TaskFile.load(path) if (path / TASK_FILE).exists() else None
    model = _loader(path)(path, task_file)
    tokenizer = _tokenizer(path)
    if is_sentence_folder(path):
        cut_as_folder_says(path, tokenizer)
    if task_file is not None:  # what is made of it cuts texts as those it learned from
        tokenizer.model_max_length = task_file.max_length
    return OpenedModel(model.eval(), tokenizer, task_file, path)


def open_for_task(
    folder: str | Path, task: Task, *, seed: int, activation: str | None = None, head: Head | None = None
) -> OpenedModel:
    """Opens a model to be trained for a task: a checkpoint of transformers gets a head, one of ours keeps its own.

    Weights are float32, whatever they were saved in: steps of training are smaller than half can tell apart.

    Args:
        folder: of a model that transformers or fastformers saved.
        task: the task; a head of its width in a checkpoint is kept.
        seed: of a new head's random weights.
        activation: of a checkpoint's feed-forward layers, e.g. ``"relu"``; ``None`` leaves it.
        head: of a checkpoint, as :func:`fastformers.tasks.build_model`.

    Raises:
        ConfigError: a model of ours is of another task, or is to get another activation or head; otherwise as
            :func:`open_model`, as are the other errors.
    """
    path = _checked(folder)
    if not (path / MANIFEST).is_file():
        model = build_model(task, path, activation=activation, head=head, seed=seed)
        return OpenedModel(model, _tokenizer(path), None, path)
    opened = open_model(path)
    found = opened.required_task().task
    if (found.name, found.labels) != (task.name, task.labels):
        raise ConfigError(f"{path} holds a model for {described(found)}; it is to answer {described(task)}")
    for name, value in (("activation", activation), ("head", head)):
        if value is not None:
            raise ConfigError(
                f"{name} is {value!r}, and {path} holds a model that was trained for its task already: leave it"
            )
    return replace(opened, model=with_float32_weights(opened.model))


def learned_from(task_file: TaskFile, model: nn.Module, *sets: EncodedExamples) -> TaskFile:
    """Returns the task file of a model that learned from examples: cut where it ends, in the form that they have."""
    return replace(
        task_file,
        max_length=min(task_file.max_length, positions_of(model) or task_file.max_length),
        pairs=have_pairs([example for each in sets for example in each.examples]),
    )


def save_model(
    model: nn.Module,
    output: str | Path,
    tokenizer: Any,
    task_file: TaskFile | None,
    *,
    extra: ExtraFiles | None = None,
    overwrite: bool = False,
) -> None:
    """Saves a model with its tokenizer and task; the folder appears in one step when all is written.

    Args:
        model: a torch model or a compiled encoder.
        output: folder to make.
        tokenizer: of transformers.
        task_file: what the model answers, if that is known.
        extra: further JSON files by name.
        overwrite: replace a model saved there before.

    Raises:
        ConfigError, UnsupportedModelError: as :func:`fastformers.save_pretrained`.
    """
    task = {} if task_file is None else {TASK_FILE: task_file.to_dict()}
    cutting = _cutting_as(task_file, tokenizer)
    save_pretrained(model, output, cutting, extra={**task, **(extra or {})}, overwrite=overwrite)


def _cutting_as(task_file: TaskFile | None, tokenizer: Any) -> Any:
    """A tokenizer whose own limit is the task's, for who opens it without ``task.json``; the one given stays."""
    if task_file is None:
        return tokenizer
    limited = copy.copy(tokenizer)  # shares the vocabulary
    limited.model_max_length = task_file.max_length
    return limited


def _checked(folder: str | Path) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder: it must hold a model")
    if not (path / "config.json").is_file():
        raise ConfigError(f"{path} holds no config.json: it is not the folder of a model")
    return path


def _named_task(model: Any, tokenizer: Any) -> TaskFile | None:
    """The task of a stock classifier: the user's own data, its class names in the order of its logits."""
    kind, config = _kind_and_config(model)
    if not kind.endswith("ForSequenceClassification") or has_many_labels(config.get("problem_type")):
        return None
    names = given_class_names(config.get("id2label"))
    if len(names) < 2 or len(set(names)) < len(names):
        return None
    positions = positions_of(model) or config.get("max_position_embeddings")
    most = positions if isinstance(positions, int) and positions > 0 else LONGEST
    return TaskFile(task_with_labels(names), min(int(tokenizer.model_max_length), most))


def _kind_and_config(model: Any) -> tuple[str, dict[str, Any]]:
    """The class of transformers that a model is of, or was compiled from, and its configuration."""
    if isinstance(model, Encoder):  # the plan's limit is that of its table: RoBERTa's has two rows more
        config = {**model.config, "max_position_embeddings": model.plan.max_tokens}
        return next(iter(config.get("architectures") or ("",))), config
    return type(model).__name__, model.config.to_dict() if hasattr(model, "config") else {}


def described(task: Task) -> str:
    """Returns a task's name and labels, for messages."""
    return f"{task.name} ({', '.join(task.labels) or 'numbers'})"


_Loader = Callable[[Path, "TaskFile | None"], nn.Module]


def _loader(folder: Path) -> _Loader:
    format_name = saved_format(folder)
    if format_name is None:
        return _of_transformers
    return _LOADERS.get(format_name, _of_torch)  # which refuses other formats, and says why


def _of_torch(folder: Path, _: TaskFile | None) -> nn.Module:
    return load_pretrained_torch(folder)


def _compiled(folder: Path, _: TaskFile | None) -> nn.Module:
    return load(folder)


def _of_transformers(folder: Path, task_file: TaskFile | None) -> nn.Module:
    if task_file is not None:
        _check_class_order(folder, task_file.task)
        return build_model(task_file.task, folder, new_head=False)
    transformers = require("transformers", "torch", "opening a model")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        name = next(iter(getattr(config, "architectures", None) or ["AutoModel"]))
        if is_sentence_folder(folder):  # many name the class they were pretrained as, whose head is not there
            name = "AutoModel"
        kind = getattr(transformers, name, transformers.AutoModel)
        with quiet_loading():
            model, found = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError) as error:
        raise FormatError(f"{folder} does not hold a model that transformers can load: {error}") from error
    missing = sorted(found["missing_keys"])
    if missing:
        _LOG.warning("%s lacks %s (%d such): drawn at random", folder, missing[0], len(missing))
    return with_float32_weights(model)


def _check_class_order(folder: Path, task: Task) -> None:
    """Refuses a classifier whose config names the task's classes in another order: its answers would be exchanged."""
    names = given_class_names(read_json(folder / "config.json").get("id2label"))
    order = same_classes(names, task.labels)
    if order is not None and order != sorted(order):
        raise ConfigError(
            f"{folder}: its config.json has the classes in the order {', '.join(names)}, its {TASK_FILE} (the task "
            f"{task.name}) in the order {', '.join(task.labels)}: put the rows of its last layer, and id2label, into "
            f"the task's order; or delete {TASK_FILE} and use files of your own with the labels that config.json has"
        )


def _tokenizer(folder: Path) -> Any:
    transformers = require("transformers", "torch", "opening a model")
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise FormatError(
            f"{folder} holds no tokenizer, none of {', '.join(_VOCABULARIES)}: save it beside the model"
        )
    try:
        with quiet_loading():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise FormatError(f"{folder} holds a tokenizer that transformers cannot load: {error}") from error
    # What the last call left in the file; the next call of transformers would not mind it either.
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


_LOADERS: dict[str, _Loader] = {TORCH_FORMAT: _of_torch, ENCODER_FORMAT: _compiled}
