# SPDX-License-Identifier: MIT
"""Energy readings: counters of a made-up sysfs, a made-up GPU, estimates with all they assume, and honest absence."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastformers.benchmarking.energy import EnergyMeter, carbon_intensity, energy_meter
from fastformers.benchmarking.energy.cpu_time import family_cpu_seconds
from fastformers.benchmarking.energy.nvml import NvmlSource
from fastformers.benchmarking.energy.processors import read_processor
from fastformers.benchmarking.energy.reading import UnavailableError
from fastformers.errors import ConfigError

RANGE = 262_143_328_850  # microjoules, as real packages have it

GENOA = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
siblings\t: 4
cpu cores\t: 2

processor\t: 1
"""


class FakeSysfs:
    """Two packages with their parts, memory, and the whole board, as a server shows them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "class" / "powercap"
        for zone, name in {
            "intel-rapl:0": "package-0",
            "intel-rapl:0:0": "core",
            "intel-rapl:0:1": "dram",
            "intel-rapl:1": "package-1",
            "intel-rapl:2": "psys",
            "intel-rapl-mmio:0": "package-0",
        }.items():
            (self.folder / zone).mkdir(parents=True)
            (self.folder / zone / "name").write_text(f"{name}\n")
            (self.folder / zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
            self.set(zone, 0)

    def set(self, zone: str, microjoules: int) -> None:
        """Changes a counter in one step, as the kernel does: readers never find an empty file."""
        beside = self.folder / zone / "new"
        beside.write_text(f"{microjoules}\n")
        beside.replace(self.folder / zone / "energy_uj")


@pytest.fixture
def sysfs(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path / "sys")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A processor of a known kind and no processes."""
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cpuinfo").write_text(GENOA)
    return folder


def test_counters_of_packages_and_memory_are_added_and_nothing_is_counted_twice(sysfs: FakeSysfs) -> None:
    with energy_meter("auto", sysfs=sysfs.root) as meter:
        for zone in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
            sysfs.set(zone, 5_000_000)
        sysfs.set("intel-rapl:0:1", 500_000)
        sysfs.set("intel-rapl:1", 2_000_000)
    assert meter.reading.method == "rapl"
    assert meter.reading.joules == pytest.approx(
        7.5, abs=1e-9
    )  # sums of whole microjoules: float rounding only
    assert "dram + package-0 + package-1" in meter.reading.detail


def test_a_counter_that_began_anew_goes_on(sysfs: FakeSysfs) -> None:
    sysfs.set("intel-rapl:0", RANGE - 1_000_000)
    with energy_meter("rapl", sysfs=sysfs.root) as meter:
        sysfs.set("intel-rapl:0", 3_000_000)
    assert meter.reading.joules == pytest.approx(4.0, abs=1e-9)


def test_a_counter_that_turns_twice_within_a_block_is_followed_by_polling(sysfs: FakeSysfs) -> None:
    from fastformers.benchmarking.energy.rapl import RaplSource

    source = RaplSource(sysfs.root)
    polled = threading.Semaphore(0)
    read = source.joules

    def joules() -> float:
        value = read()
        polled.release()
        return value

    source.joules = joules  # type: ignore[method-assign]
    with EnergyMeter({"rapl": lambda: source}, poll_seconds=0.001) as meter:
        for microjoules in (RANGE - 1, 500, RANGE - 1, 500):
            sysfs.set("intel-rapl:0", microjoules)
            while polled.acquire(blocking=False):  # readings from before the change
                pass
            for _ in range(2):  # the first of these may have begun before it
                assert polled.acquire(timeout=5)
    assert meter.reading.joules == pytest.approx((2 * RANGE + 500) * 1e-6, abs=1e-3)


def test_counters_that_may_not_be_read_are_explained_and_the_estimate_stands_in(
    sysfs: FakeSysfs, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_text = Path.read_text

    def refuse(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    with energy_meter("rapl", sysfs=sysfs.root) as meter:
        pass
    assert (meter.reading.joules, meter.reading.method) == (None, "unavailable")
    assert "sudo chmod a+r" in meter.reading.detail
    with energy_meter("auto", sysfs=sysfs.root, proc=proc) as meter:
        pass
    assert meter.reading.method == "estimate:tdp"
    assert "sudo chmod a+r" in meter.reading.detail


def test_a_counter_that_vanishes_meanwhile_gives_no_number(sysfs: FakeSysfs) -> None:
    with energy_meter("rapl", sysfs=sysfs.root) as meter:
        (sysfs.folder / "intel-rapl:0" / "energy_uj").unlink()
    assert (meter.reading.joules, meter.reading.method) == (None, "unavailable")


def test_the_estimate_says_what_it_assumes(tmp_path: Path, proc: Path) -> None:
    with energy_meter("auto", sysfs=tmp_path, proc=proc) as meter:
        burn(0.2)
    reading = meter.reading
    assert reading.method == "estimate:tdp"
    assert "EPYC 9654 (Zen 4) assumed: 360 W for 96 cores" in reading.detail
    assert "no energy counters" in reading.detail
    assert reading.joules is not None
    # 0.2 s of one of a core's two hardware threads at 3.75 W a core; less than twice that, whatever else runs here.
    assert 0.1 * 3.75 <= reading.joules < 0.2 * 3.75


def test_watts_of_ones_own_go_before_the_table(tmp_path: Path, proc: Path) -> None:
    with energy_meter("estimate:tdp", sysfs=tmp_path, proc=proc, watts_per_core=100.0) as meter:
        burn(0.05)
    assert "x 100 W a core, as given" in meter.reading.detail


@pytest.mark.parametrize("cpuinfo", ["", GENOA.replace("25", "99"), "Processor : ARMv8\n"])
def test_an_unknown_processor_gives_no_number(tmp_path: Path, proc: Path, cpuinfo: str) -> None:
    (proc / "cpuinfo").write_text(cpuinfo)
    with energy_meter(sysfs=tmp_path, proc=proc) as meter:
        burn(0.02)
    assert (meter.reading.joules, meter.reading.method) == (None, "unavailable")
    assert meter.reading.watts is None
    assert "watts_per_core" in meter.reading.detail


def test_hardware_threads_of_a_core_count_once(proc: Path) -> None:
    processor = read_processor(proc / "cpuinfo")
    assert processor is not None
    assert processor.threads_per_core == 2.0


def test_processor_time_of_children_is_counted_while_they_run_and_after() -> None:
    code = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nsys.stdin.read()"
    before = family_cpu_seconds()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    running = family_cpu_seconds()
    child.communicate()
    after = family_cpu_seconds()
    assert running - before >= 0.28  # the kernel counts others' time in ticks of 10 ms
    assert after >= running - 0.02


def test_gpus_are_added_up() -> None:
    energy = {"a": 1000, "b": 50}
    library = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(energy),
        nvmlDeviceGetHandleByIndex=lambda index: list(energy)[index],
        nvmlDeviceGetTotalEnergyConsumption=lambda device: energy[device],
    )
    with EnergyMeter({"nvml": lambda: NvmlSource(library)}) as meter:
        energy.update(a=3000, b=550)
    assert (meter.reading.joules, meter.reading.method) == (2.5, "nvml")
    assert "2 GPUs; the processor is not counted" in meter.reading.detail


def test_a_driver_that_is_missing_is_no_error_of_the_program() -> None:
    def fail() -> None:
        raise RuntimeError("NVML Shared Library Not Found")

    with pytest.raises(UnavailableError, match="Library Not Found"):
        NvmlSource(SimpleNamespace(NVMLError=RuntimeError, nvmlInit=fail))


def test_nothing_is_read_when_energy_is_off() -> None:
    with energy_meter("off") as meter:
        pass
    assert str(meter.reading) == "energy unavailable: energy was not asked for"


MIXES = {"DEU": {"carbon_intensity": 380.95, "country_name": "Germany", "year": 2023}}


def test_co2_is_that_of_the_countrys_electricity() -> None:
    germany = carbon_intensity("deu", MIXES)
    assert germany.kilograms(3.6e6) == pytest.approx(
        0.38095, rel=1e-12
    )  # of one kWh: rounding of floats only
    assert str(germany) == "381 g CO2 a kWh (Germany, 2023)"
    with pytest.raises(ConfigError, match="DEU"):
        carbon_intensity("Germany", MIXES)


def test_the_table_of_codecarbon_has_the_fields_that_are_read() -> None:
    pytest.importorskip("codecarbon", reason="CO2 figures need the energy extra")
    assert 0 < carbon_intensity("FRA").grams_per_kwh < carbon_intensity("POL").grams_per_kwh


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="estimate:tdp"):
        energy_meter("codecarbon")
    with pytest.raises(ConfigError, match="watts_per_core"):
        energy_meter("estimate:tdp", watts_per_core=0.0)
    with pytest.raises(ConfigError, match="with block"):
        _ = energy_meter().reading


def test_the_reading_is_printed_in_one_line_with_its_method(sysfs: FakeSysfs) -> None:
    with energy_meter(sysfs=sysfs.root) as meter:
        sysfs.set("intel-rapl:0", 12_340_000)
    assert str(meter.reading).startswith("12.3 J (rapl, ")
    assert meter.reading.to_dict()["method"] == "rapl"


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
