# SPDX-License-Identifier: MIT
"""Benchmarks of fastformers and of the tools a user would pick instead; see ``bench/README.md``."""
