# SPDX-License-Identifier: MIT
"""``quantize_``: swaps the linear layers of a torch model for INT8 ones, in place, and says what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from fastformers import __version__, kernels
from fastformers.config import Int8Config
from fastformers.errors import CalibrationError, ConfigError, GateError
from fastformers.modules import PackedLinear
from fastformers.modules.model_bytes import model_bytes
from fastformers.quantization.agreement import Agreement, Answers, compare_answers, record_answers
from fastformers.quantization.checks import check_layers, check_model
from fastformers.quantization.choice import choose_layers, counted_rows
from fastformers.quantization.convert import Converter, stays_float
from fastformers.quantization.inputs import Examples, collect_examples
from fastformers.quantization.memory import return_freed_pages
from fastformers.quantization.plan import LayerPlan, plan_layers
from fastformers.quantization.progress import ProgressCallback, reporting
from fastformers.quantization.report import (
    REPORT_ATTRIBUTE,
    LayerReport,
    QuantizationReport,
    disagreement_message,
)
from fastformers.quantization.sensitivity import least_faithful
from fastformers.quantization.swap import Swap
from fastformers.quantization.timing import TimingCache

__all__ = ["convert_model", "quantize_"]


def quantize_(
    model: nn.Module,
    config: Int8Config | None = None,
    *,
    tokenizer: Callable[..., Any] | None = None,
    texts: Iterable[Any] | None = None,
    progress: ProgressCallback | bool | None = None,
) -> QuantizationReport:
    """Replaces ``nn.Linear`` layers by INT8 :class:`fastformers.PackedLinear` ones wherever that is faster here.

    The model is changed in place and keeps its forward signature and outputs. After any error, a missed gate
    included, it is as it was before.

    Args:
        model: any torch model in evaluation mode, float32, on the CPU. For transformers families that are known the
            activation after a layer is fused into it. Of a SentenceTransformer pass ``model[0].auto_model``.
        config: see :class:`fastformers.Int8Config`.
        tokenizer: the model's tokenizer (transformers); without it, and without example inputs, layers are
            neither equalised nor compared with float32.
        texts: at least 8 texts (or pairs of texts) like those the model will see, or example inputs for models
            without a tokenizer: tensors, tuples of tensors or dicts of tensors, examples along the first dimension.
            Default: texts that come with the package.
        progress: called with (stage, steps done, steps in all), or True for a bar on standard error.

    Returns:
        What was done to each layer and why, speed, memory, and agreement with float32; ``print`` it.

    Raises:
        ConfigError: a name in ``exclude`` matches nothing, or a gate cannot be checked.
        CalibrationError: too few texts, no tokenizer for them, or the model fails on them.
        DtypeError, DeviceError, ShapeError, NonFiniteError: a layer that cannot be converted, with its name.
        UnsupportedModelError: no linear layer, or the model is in training mode.
        GateError: more answers differ from float32 than ``max_disagreement`` allows.

    Example:
        >>> report = ff.quantize_(model, tokenizer=tokenizer, texts=texts)
        >>> print(report)
    """
    return convert_model(model, Int8Config() if config is None else config, tokenizer, texts, progress)


def convert_model(
    model: nn.Module,
    config: Int8Config,
    tokenizer: Callable[..., Any] | None,
    texts: Iterable[Any] | None,
    progress: ProgressCallback | bool | None,
    *,
    hold_floats: bool = False,
) -> QuantizationReport:
    """Does what :func:`quantize_` says.

    Args:
        model: the model.
        config: what is wanted.
        tokenizer: the model's tokenizer.
        texts: what to calibrate on.
        progress: who is told.
        hold_floats: someone else holds the float weights anyway: keep the layers to undo an interrupted conversion,
            instead of writing them to a temporary file.
    """
    check_model(model)
    plans = plan_layers(model, config)
    check_layers(plans)
    examples = collect_examples(model, config, tokenizer, texts)
    _check_calibration(config, examples)
    with reporting(progress) as told, torch.no_grad():
        hold = hold_floats or config.max_disagreement is not None
        return _quantize(model, config, plans, examples, told, hold)


def _check_calibration(config: Int8Config, examples: Examples | None) -> None:
    if examples is not None:
        return
    if config.rounding == "compensated":
        raise CalibrationError(
            'rounding="compensated" needs calibration: pass tokenizer=, or texts= with examples'
        )
    if config.max_disagreement is not None:
        raise ConfigError(
            "max_disagreement needs answers to compare: pass tokenizer=, or texts= with examples"
        )


def _quantize(
    model: nn.Module,
    config: Int8Config,
    plans: list[LayerPlan],
    examples: Examples | None,
    told: ProgressCallback,
    hold_floats: bool,
) -> QuantizationReport:
    candidates = [plan for plan in plans if plan.reason is None]
    before = model_bytes(model)
    cache = TimingCache(config.threads)
    found: dict[str, LayerReport] = {}
    agreement: Agreement | None = None
    notes: list[str] = []
    with Swap(keep=hold_floats) as swap:
        left = swap.leave_fast_paths(model, candidates)
        with counted_rows(candidates) as rows:
            reference = _answers(model, examples, told, "float32 answers") if candidates else None
        choices = choose_layers(candidates, None if examples is None else rows, config, cache, told)
        found = Converter(model, config, examples, rows, swap, told).run(candidates, choices)
        if any(layer.decision == "int8" for layer in found.values()):
            after = _answers(model, examples, told, "INT8 answers")
            agreement = None if reference is None or after is None else compare_answers(reference, after)
            _check_gate(config, agreement, found)
            swap.commit()
            notes = [f"torch's own fused inference path was switched off in {left} modules"] if left else []
    return_freed_pages()
    earlier = {layer.name: layer for layer in getattr(getattr(model, REPORT_ATTRIBUTE, None), "layers", ())}
    report = QuantizationReport(
        layers=tuple(found.get(plan.name) or _untouched(plan, earlier.get(plan.name)) for plan in plans),
        agreement=agreement,
        config=config,
        calibration=_calibration_text(config, examples),
        machine=_machine(),
        model_bytes=(before, model_bytes(model)),
        notes=(*notes, *swap.notes, *cache.notes),
    )
    model.__dict__[REPORT_ATTRIBUTE] = report
    return report


def _answers(
    model: nn.Module, examples: Examples | None, told: ProgressCallback, stage: str
) -> Answers | None:
    if examples is None:
        return None

    def step(done: int, total: int) -> None:
        return_freed_pages()
        told(stage, done, total)

    return record_answers(model, examples, step)


def _check_gate(config: Int8Config, agreement: Agreement | None, found: dict[str, LayerReport]) -> None:
    limit = config.max_disagreement
    if limit is None or agreement is None or agreement.disagreement <= limit:
        return
    worst = least_faithful(found.values())
    named = ", ".join(f"{name} ({found[name].sqnr_db:.1f} dB)" for name in worst)
    raise GateError(
        f"{disagreement_message(agreement, limit)}. The float layers were put back. Layers with the most noise, worst "
        f"first: {named}. Leave some of them float: exclude={tuple(worst)!r}"
    )


def _untouched(plan: LayerPlan, earlier: LayerReport | None) -> LayerReport:
    if plan.packed and earlier is not None:
        return replace(earlier, decision="unchanged", reason="already INT8")
    if plan.packed:
        packed = getattr(plan.sites[0].parent, plan.sites[0].attribute)
        assert isinstance(packed, PackedLinear)
        nbytes = packed.packed.numel()
        return LayerReport(
            plan.name,
            plan.shape,
            "unchanged",
            "already INT8",
            packed.isa,
            packed.activation,
            packed_bytes=nbytes,
        )
    return stays_float(plan, plan.reason or "")


def _calibration_text(config: Int8Config, examples: Examples | None) -> str:
    equalized = "equalized" if config.equalize else "not equalized (equalize=False)"
    if examples is None:
        return "none; equalization off: no tokenizer and no example inputs" if config.equalize else "none"
    return f"on {examples.origin}; inputs {equalized}, rounding {config.rounding}, range {config.activation}"


def _machine() -> dict[str, Any]:
    return {
        "cpu": kernels.cpu_facts()["model"],
        "isa": kernels.active_isa(),
        "threads": kernels.num_threads(),
        "torch_threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "fastformers": __version__,
    }
