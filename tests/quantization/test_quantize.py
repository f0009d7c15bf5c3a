# SPDX-License-Identifier: MIT
"""quantize_ as a user meets it: any torch model, with or without texts, twice, gated, interrupted; and its memory."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from packed_sizes import share_of_float32
from torch import Tensor, nn

import fastformers as ff
from fastformers import errors, kernels
from fastformers.modules import PackedLinear
from fastformers.quantization import convert
from fastformers.quantization.report import QuantizationReport

Make = Callable[..., Any]
Snapshot = Callable[[nn.Module], dict[str, Any]]
Same = Callable[[dict[str, Any], dict[str, Any]], bool]

SWAP_ALL = ff.Int8Config(never_slower=False)


def decisions(report: QuantizationReport) -> dict[str, str]:
    return {layer.name: layer.decision for layer in report.layers}


def test_with_texts_and_tokenizer(make_model: Make, tokenizer: Any, texts: list[str]) -> None:
    model = make_model("bert", "AutoModelForSequenceClassification")
    report = ff.quantize_(model, SWAP_ALL, tokenizer=tokenizer, texts=texts)
    assert report.calibration == "on 16 texts given; inputs equalized, rounding nearest, range per_token"
    assert report.agreement.examples == 16
    assert list(decisions(report).values()).count("int8") == 12
    assert all(layer.isa == kernels.active_isa() for layer in report.layers if layer.decision == "int8")
    query = model.bert.encoder.layer[0].attention.self.query
    assert isinstance(query, PackedLinear)
    assert query.input_factors is not None


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
def test_siblings_share_their_factors(
    make_model: Make, token_ids: list[dict[str, Tensor]], rounding: Any
) -> None:
    model = make_model("bert")
    ff.quantize_(model, ff.Int8Config(never_slower=False, rounding=rounding), texts=token_ids)
    attention = model.encoder.layer[0].attention
    assert torch.equal(attention.self.query.input_factors, attention.self.key.input_factors)
    assert torch.equal(attention.self.query.input_factors, attention.self.value.input_factors)
    assert not torch.equal(attention.self.query.input_factors, attention.output.dense.input_factors)


def test_with_bundled_texts(make_model: Make, tokenizer: Any) -> None:
    report = ff.quantize_(
        make_model("bert"), ff.Int8Config(never_slower=False, max_texts=12), tokenizer=tokenizer
    )
    assert report.calibration.startswith("on 12 bundled texts")
    assert report.agreement.examples == 12


def test_without_anything_to_go_by_it_says_what_is_missing(make_model: Make) -> None:
    model = make_model("bert")
    report = ff.quantize_(model, SWAP_ALL)
    assert "equalization off: no tokenizer" in report.calibration
    assert "no tokenizer" in str(report)
    assert report.agreement is None
    assert list(decisions(report).values()).count("int8") == 12
    assert model.encoder.layer[0].attention.self.query.input_factors is None


def test_equalize_off_is_off(plain: nn.Sequential, plain_inputs: list[Tensor]) -> None:
    report = ff.quantize_(plain, ff.Int8Config(never_slower=False, equalize=False), texts=plain_inputs)
    assert plain[0].input_factors is None
    assert "not equalized" in report.calibration


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
@pytest.mark.parametrize("activation", ["per_token", "per_tensor"])
def test_any_torch_model(
    plain: nn.Sequential, plain_inputs: list[Tensor], rounding: Any, activation: Any
) -> None:
    with torch.no_grad():
        expected = plain(plain_inputs[0])
    config = ff.Int8Config(never_slower=False, rounding=rounding, activation=activation)
    report = ff.quantize_(plain, config, texts=plain_inputs)
    assert decisions(report) == {"0": "int8", "2": "int8", "4": "int8"}
    assert plain[0].activation == "relu"
    assert plain[0].per_tensor is (activation == "per_tensor")
    assert torch.allclose(plain(plain_inputs[0]), expected, atol=0.1)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # the float model's own
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_torchs_own_transformer_encoder(batch_first: bool, activation: str) -> None:
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(32, 4, 64, activation=activation, batch_first=batch_first)
    model = nn.TransformerEncoder(block, 2, enable_nested_tensor=batch_first).eval()
    x = torch.randn(9, 9, 32)
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[:, 7:] = True
    with torch.no_grad():
        expected = model(x, src_key_padding_mask=mask)
    report = ff.quantize_(model, SWAP_ALL, texts=[{"src": x}])
    swapped = [layer for layer in report.layers if layer.decision == "int8"]
    assert {layer.name.rpartition(".")[2]: layer.activation for layer in swapped} == {
        "linear1": activation,
        "linear2": None,
    }
    assert any("fused inference path" in note for note in report.notes)
    with torch.no_grad():
        got = model(x, src_key_padding_mask=mask)
    real = ~mask if batch_first else ~mask.T
    assert torch.allclose(got[real], expected[real], atol=0.1)


def test_layers_the_examples_do_not_reach_stay_float(plain_inputs: list[Tensor]) -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(40, 40), nn.Linear(40, 40)

        def forward(self, x: Tensor, other: bool = False) -> Tensor:
            return self.unused(x) if other else self.used(x)

    report = ff.quantize_(Branches().eval(), SWAP_ALL, texts=plain_inputs)
    assert decisions(report) == {"used": "int8", "unused": "float"}
    assert report.layers[1].reason == "not reached by the calibration examples"


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
def test_torchs_default_dtype_does_not_matter(
    plain: nn.Sequential, plain_inputs: list[Tensor], rounding: Any
) -> None:
    twin = copy.deepcopy(plain)
    ff.quantize_(twin, ff.Int8Config(never_slower=False, rounding=rounding), texts=plain_inputs)
    torch.set_default_dtype(torch.float64)
    try:
        config = ff.Int8Config(min_speedup=0, rounding=rounding)  # timed, and swapped whatever the times
        ff.quantize_(plain, config, texts=plain_inputs)
        found = plain(plain_inputs[0])
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, twin(plain_inputs[0]))


def test_a_layer_that_is_called_by_keyword(plain_inputs: list[Tensor]) -> None:
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(40, 40)

        def forward(self, x: Tensor) -> Any:
            return self.inner(input=x)

    model = Keyword().eval()
    before = model(plain_inputs[0])
    report = ff.quantize_(model, ff.Int8Config(never_slower=False), texts=plain_inputs)
    assert report.layers[0].decision == "int8"
    assert report.layers[0].sqnr_db is not None
    assert torch.allclose(model(plain_inputs[0]), before, atol=0.1)


def test_twice_changes_nothing_the_second_time(plain: nn.Sequential, plain_inputs: list[Tensor]) -> None:
    first = ff.quantize_(plain, SWAP_ALL, texts=plain_inputs)
    layers, expected = list(plain), plain(plain_inputs[0])
    second = ff.quantize_(plain, SWAP_ALL, texts=plain_inputs)
    assert decisions(second) == dict.fromkeys(("0", "2", "4"), "unchanged")
    assert all(before is after for before, after in zip(layers, plain, strict=True))
    assert torch.equal(plain(plain_inputs[0]), expected)
    assert [layer.sqnr_db for layer in second.layers] == [layer.sqnr_db for layer in first.layers]
    assert second.agreement is None
    assert "nothing was swapped" in str(second)


def test_the_rest_can_be_done_later(plain: nn.Sequential, plain_inputs: list[Tensor]) -> None:
    ff.quantize_(plain, ff.Int8Config(never_slower=False, exclude=("0",)), texts=plain_inputs)
    report = ff.quantize_(plain, SWAP_ALL, texts=plain_inputs)
    assert decisions(report) == {"0": "int8", "2": "unchanged", "4": "unchanged"}


def test_a_missed_gate_restores_everything_and_names_the_layers(
    make_model: Make, token_ids: list[dict[str, Tensor]], snapshot: Snapshot, same: Same
) -> None:
    model = make_model("electra", "AutoModelForTokenClassification", num_labels=40)
    before = snapshot(model)
    modules = dict(model.named_modules())
    config = ff.Int8Config(never_slower=False, max_disagreement=0.0, activation="per_tensor")
    with pytest.raises(
        errors.GateError, match=r"allowed: 0.00%.*put back.* dB\).*exclude=\('electra"
    ) as raised:
        ff.quantize_(model, config, texts=token_ids)
    assert same(snapshot(model), before)
    assert dict(model.named_modules()) == modules
    assert "% of the answers (the class with the largest logit) on 16 examples" in str(raised.value)
    assert not hasattr(model, "fastformers_report")


def test_a_gate_that_holds_passes(plain: nn.Sequential, plain_inputs: list[Tensor]) -> None:
    config = ff.Int8Config(never_slower=False, max_disagreement=1.0)
    report = ff.quantize_(plain, config, texts=plain_inputs)
    assert report.agreement.disagreement <= 1.0
    assert isinstance(plain[0], PackedLinear)


@pytest.mark.parametrize("gate", [None, 0.5])
@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_an_interruption_half_way_leaves_the_model_as_it_was(
    plain: nn.Sequential,
    plain_inputs: list[Tensor],
    snapshot: Snapshot,
    same: Same,
    monkeypatch: pytest.MonkeyPatch,
    gate: float | None,
    failure: type[BaseException],
) -> None:
    before = snapshot(plain)
    rounded: list[int] = []
    real = convert.quantize_weight

    def interrupted(*arguments: Any) -> Any:
        rounded.append(1)
        if len(rounded) == 3:
            raise failure
        return real(*arguments)

    monkeypatch.setattr(convert, "quantize_weight", interrupted)
    with pytest.raises(failure):
        ff.quantize_(plain, ff.Int8Config(never_slower=False, max_disagreement=gate), texts=plain_inputs)
    assert same(snapshot(plain), before)


def test_a_callback_that_raises_leaves_the_model_as_it_was(
    plain: nn.Sequential, plain_inputs: list[Tensor], snapshot: Snapshot, same: Same
) -> None:
    before = snapshot(plain)

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "INT8 answers":
            raise StopIteration

    with pytest.raises(StopIteration):
        ff.quantize_(plain, SWAP_ALL, texts=plain_inputs, progress=cancel)
    assert same(snapshot(plain), before)


def test_progress_is_told_by_stage(plain: nn.Sequential, plain_inputs: list[Tensor]) -> None:
    told: list[tuple[str, int, int]] = []
    ff.quantize_(plain, SWAP_ALL, texts=plain_inputs, progress=lambda *step: told.append(step))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages[0] == "float32 answers"
    assert stages[-2:] == ["converting layers", "INT8 answers"]
    for stage in stages:
        done = [done for name, done, _ in told if name == stage]
        assert done == sorted(done)
        assert done[-1] == next(total for name, _, total in told if name == stage)


def test_a_bar_goes_to_standard_error(
    plain: nn.Sequential, plain_inputs: list[Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    ff.quantize_(plain, SWAP_ALL, texts=plain_inputs, progress=True)
    assert not capsys.readouterr().out


def test_no_copy_of_the_weights_is_left(plain_inputs: list[Tensor]) -> None:
    model = nn.Sequential(*(nn.Linear(40, 40) for _ in range(4))).eval()
    weights = [weakref.ref(layer.weight) for layer in model]
    report = ff.quantize_(model, SWAP_ALL, texts=plain_inputs)
    assert [weight() for weight in weights] == [None] * 4
    assert report.linear_bytes[0] == 4 * 4 * 40 * 40


def test_weights_are_let_go_one_by_one(plain_inputs: list[Tensor]) -> None:
    model = nn.Sequential(*(nn.Linear(40, 40) for _ in range(4))).eval()
    weights = [weakref.ref(layer.weight) for layer in model]
    alive: list[int] = []

    def count(stage: str, done: int, total: int) -> None:
        if stage == "converting layers":
            alive.append(sum(weight() is not None for weight in weights))

    ff.quantize_(model, SWAP_ALL, texts=plain_inputs, progress=count)
    assert alive == [3, 2, 1, 0]


@pytest.mark.parametrize("isa", kernels.available_isas())
def test_packed_weights_take_a_quarter_or_half_of_the_float_ones(isa: str) -> None:
    with kernels.use_isa(isa):
        model = nn.Sequential(nn.Linear(768, 768), nn.Linear(768, 1536)).eval()
        report = ff.quantize_(model, SWAP_ALL)
    before, after = report.linear_bytes
    assert before == 4 * (768 * 768 + 768 * 1536)
    assert after <= share_of_float32(isa) * before
    held = sum(tensor.numel() * tensor.element_size() for tensor in model.buffers())
    assert held == after


def test_result_does_not_depend_on_the_instruction_set(plain_inputs: list[Tensor]) -> None:
    outputs = []
    for isa in kernels.available_isas():
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 48)).eval()
        with kernels.use_isa(isa):
            ff.quantize_(model, SWAP_ALL, texts=plain_inputs)
            outputs.append(model(plain_inputs[0]))
    assert all(torch.equal(output, outputs[0]) for output in outputs)
