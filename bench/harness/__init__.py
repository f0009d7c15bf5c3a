# SPDX-License-Identifier: MIT
"""What the benchmarks share: the file of readings that an interrupted run goes on with, and Markdown tables."""
