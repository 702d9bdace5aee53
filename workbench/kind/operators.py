"""Operators by what they are for: which ones predict, prepare features, make a layer, bend, multiply, compare.

``operators.txt`` holds the names.
"""

from __future__ import annotations

from pathlib import Path

from ..safety.names import listed

PREDICTORS, FEATURES, LAYERS, ACTIVATIONS, PRODUCTS, COMPARISONS, POINTWISE, TRIVIAL = (
    listed(Path(__file__).with_suffix(".txt"))[section]
    for section in "predictors features layers activations products comparisons pointwise trivial".split()
)

STANDARD_DOMAINS = {"", "com.microsoft", "com.microsoft.nchwc"}
