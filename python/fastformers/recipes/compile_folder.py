# SPDX-License-Identifier: MIT
"""``compile_folder``: a model folder in, a compiled encoder's folder out, calibrated on the task's own texts."""

from __future__ import annotations

from pathlib import Path

from fastformers.config import CompileConfig
from fastformers.errors import ConfigError
from fastformers.files.fields import MANIFEST
from fastformers.files.replaced_folder import check_place
from fastformers.files.strict_json import read_json
from fastformers.modules import holds_packed_layers
from fastformers.quantization.report import QuantizationReport
from fastformers.recipes import compiling
from fastformers.recipes.model_folder import open_model, save_model
from fastformers.recipes.sentence_folder import with_folder_pooling
from fastformers.tasks import Task, load_examples

__all__ = ["Text", "compile_folder", "saved_notes", "training_texts"]

Text = str | tuple[str, str]

#: Texts handed over for calibration; the config says how many of them are used.
_MOST_TEXTS = 512
_CALIBRATED = "the model's layers were INT8 before: they are as they were, and no texts calibrate them"


def compile_folder(
    folder: str | Path,
    output: str | Path,
    config: CompileConfig | None = None,
    *,
    data_dir: str | Path | None = None,
    texts: list[Text] | None = None,
    overwrite: bool = False,
) -> QuantizationReport | None:
    """Compiles a folder's model and saves the encoder with its task, for ``fastformers.Engine``.

    Args:
        folder: of any torch model that transformers or fastformers saved, quantized or not. Of one of
            sentence-transformers, the embedding is compiled as its ``modules.json`` says, unless ``config`` pools.
        output: folder to make.
        config: how; the defaults when ``None``.
        data_dir: the task's data, whose training texts calibrate the INT8 layers; needs ``task.json``,
            or class names in the model's config. Layers that are INT8 already stay as they are, and a note says so.
        texts: texts, or pairs of texts, instead; without either, a set that comes with the package.
        overwrite: replace an encoder saved there before.

    Returns:
        What was quantized; ``None`` where nothing was.

    Raises:
        ConfigError: the folder holds no model or no task, the output's place is taken, both ``data_dir`` and ``texts``
            were given, or the layers are INT8 and the config asks for others.
        FormatError: the model or the data is damaged.
        UnsupportedModelError, GateError, CalibrationError: as :func:`fastformers.compile`; nothing is written then.

    Example:
        >>> compile_folder("my-bert", "my-bert-fast", data_dir="superglue")  # doctest: +SKIP
    """
    if data_dir is not None and texts is not None:
        raise ConfigError("data_dir and texts both say what to calibrate on: give one of them")
    check_place(Path(output).absolute(), overwrite, MANIFEST)
    opened = open_model(folder)
    config, notes = with_folder_pooling(opened.folder, config)
    task_file = opened.task_file if data_dir is None else opened.required_task()
    packed = holds_packed_layers(opened.model)
    if packed and config is not None and config.int8 is None:
        raise ConfigError(
            f"the layers of the model in {opened.folder} are INT8 and stay as they are: leave float32 out, or compile "
            "the model that was quantized"
        )
    if data_dir is not None and packed:
        notes += (_CALIBRATED,)
    elif data_dir is not None and task_file is not None:
        texts = training_texts(task_file.task, data_dir)
    encoder = compiling.compile(opened.model, config, tokenizer=opened.tokenizer, texts=texts)
    encoder.notes += notes
    save_model(encoder, output, opened.tokenizer, task_file, overwrite=overwrite)
    return encoder.report


def saved_notes(folder: str | Path) -> list[str]:
    """Returns what the user of a compiled encoder should know, as it was saved."""
    return [str(note) for note in read_json(Path(folder) / MANIFEST).get("notes", [])]


def training_texts(task: Task, data_dir: str | Path) -> list[Text]:
    """Returns training texts of a task, or pairs of them, spread evenly over the set.

    Raises:
        FormatError: the data is missing or malformed.
    """
    examples = load_examples(task, data_dir, "train")
    chosen = examples[:: max(1, len(examples) // _MOST_TEXTS)][:_MOST_TEXTS]
    return [each.text if each.text_pair is None else (each.text, each.text_pair) for each in chosen]
