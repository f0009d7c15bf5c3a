# SPDX-License-Identifier: MIT
"""Measuring: what this machine is, how long things take on it, and how both are told to a person.

Nothing is imported here, so that ``fastformers doctor`` starts without torch; import the module you need.
"""
