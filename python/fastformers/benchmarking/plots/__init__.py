# SPDX-License-Identifier: MIT
"""Pictures of saved results: a ladder of optimisations, and time against accuracy over a grid of sizes.

Made to be shown: axes with units, no text over text, told apart by shape as well as by colour. matplotlib (extra
``plots``) is imported only to draw.
"""
