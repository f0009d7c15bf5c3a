# SPDX-License-Identifier: MIT
"""All benchmarks in one unattended run, one file and one set of tables: ``bench/run.py`` and ``bench/report.py``."""
