# SPDX-License-Identifier: MIT
"""A partial pass reaches the layers it is for, and nothing behind them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fastformers.quantization import calibration, convert
from fastformers.quantization.partial_pass import PartialPass


def calls_of(model: nn.Module) -> list[str]:
    seen: list[str] = []
    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(lambda *_, name=name: seen.append(name))
    return seen


def test_stops_before_the_last_layer_runs() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    seen = calls_of(model)
    inputs: list[torch.Tensor] = []
    model[2].register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    assert PartialPass(model, [model[0], model[2]], 2)(input=torch.ones(1, 4)) is None
    assert seen == ["0", "1"]
    assert len(inputs) == 1  # observed before it stopped


def test_runs_to_the_end_when_the_layers_are_called_less_often() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    seen = calls_of(model)
    PartialPass(model, [model[0]], 2)(input=torch.ones(1, 4))
    assert seen == ["0", "1"]


def test_errors_of_the_model_are_passed_on_and_no_hook_stays() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(RuntimeError):
        PartialPass(model, model, 1000)(input=torch.ones(1, 5))
    PartialPass(model, model, 1)(input=torch.ones(1, 4))
    assert not model[0]._forward_pre_hooks


def test_observing_group_by_group_sees_what_one_full_pass_sees(
    plain: nn.Sequential, plain_inputs: list[torch.Tensor]
) -> None:
    batches = [{"input": x} for x in plain_inputs]
    linears = {name: plain.get_submodule(name) for name in ("0", "2", "4")}
    options: dict[str, Any] = {"want_hessian": True, "max_sample_rows": 8}
    whole = calibration.observe(plain, linears, batches, **options)
    for name, linear in linears.items():
        runner: Any = PartialPass(plain, [linear], 1)
        alone = convert.observe(runner, {name: linear}, batches, **options)[name]
        assert torch.equal(alone.input_absmax, whole[name].input_absmax)
        assert torch.equal(alone.sample_inputs, whole[name].sample_inputs)
        assert torch.equal(alone.hessian, whole[name].hessian)
