"""skops archives."""

from __future__ import annotations

import re

from ..errors import Scan
from .subject import Subject

SKOPS_PARTS = re.compile(
    r"sklearn\.(?!externals\.)(?:\w+\.)*_?[A-Z]\w*$|sklearn\.feature_selection\._\w+\.\w+$|numpy\.dtype$"
    r"|sklearn\.cluster\._kmeans\.\w+$|scipy\.sparse\._\w+\.\w+_(?:matrix|array)$|numpy\.(?:mean|median|max|min)$"
    r"|scipy\._lib\.array_api_compat\.numpy\._aliases\.asarray$|scipy\.interpolate\._bsplines\.BSpline$"
    r"|scipy\.interpolate\._interpolate\.(?:interp1d|PPoly)$"
    r"|numpy\.random\.(?:mtrand\.RandomState|_generator\.Generator|_(?:mt19937|pcg64|philox|sfc64)\.[A-Z]\w*)$"
)
"""Parts of fitted estimators that skops does not know by itself and that run nothing when they are put together.
SciPy's distributions do not belong here: their ``__setstate__`` executes a text they bring along."""


def scan(subject: Subject) -> Scan:
    """The types a file names that are no plain parts of an estimator."""
    shown = subject.shown
    if not subject.thorough:
        return Scan(shown, "skops", False)
    try:
        from skops.io import get_untrusted_types

        unknown = get_untrusted_types(file=subject.path)
    except Exception:  # no skops, or hostile bytes: opening it will end the same way
        return Scan(shown, "skops", False, complete=False)
    unusual = tuple(name for name in unknown if not SKOPS_PARTS.match(name))
    return Scan(shown, "skops", bool(unusual), unusual=unusual, scanner="skops")
