# SPDX-License-Identifier: MIT
"""Where the time goes inside the engine, on real weights."""
