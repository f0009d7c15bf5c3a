# SPDX-License-Identifier: MIT
"""Named sequences of the techniques, each as one call."""
