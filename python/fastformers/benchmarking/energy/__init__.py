# SPDX-License-Identifier: MIT
"""Energy of a piece of work, with the method it was found by: counters where there are any, else a stated estimate.

Machines differ in what they reveal: bare metal has counters of the processor (RAPL), GPUs have their own, a virtual
machine has nothing. Where nothing can be read or estimated, the answer is "unavailable", never a number.
"""

from fastformers.benchmarking.energy.carbon import CarbonIntensity, carbon_intensity
from fastformers.benchmarking.energy.meter import EnergyMeter, Method, energy_meter
from fastformers.benchmarking.energy.reading import EnergyReading

__all__ = ["CarbonIntensity", "EnergyMeter", "EnergyReading", "Method", "carbon_intensity", "energy_meter"]
