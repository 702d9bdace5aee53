"""TensorFlow's start without its noise, and in a worker without what it imports for nobody."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ...sandbox import in_worker

OPTIONAL = ("IPython", "matplotlib", "pandas", "sklearn")
"""What Nengo and both Keras import where it is installed, for wrappers, plots and notebooks, which no worker is asked
for. It is a third of TensorFlow's start, 1.2 of 3.4 s, and 70 MiB."""

_NOISE = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:\d\d|WARNING: All log messages before absl::|To enable the following instr"
    rb"|INFO: Created TensorFlow Lite"
)
"""TensorFlow's start-up lines: which CPU features it uses, which GPU is missing."""

_one_at_a_time = threading.RLock()
"""There is one standard error: who hides its lines last must be the first to give it back."""


@contextmanager
def sparing() -> Iterator[None]:
    """In a worker, importing `OPTIONAL` fails meanwhile, as if it were not installed; unless it is imported already."""
    hidden = [name for name in OPTIONAL if name not in sys.modules] if in_worker() else []
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: so Python's import system says it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def start_up_noise_hidden() -> Iterator[None]:
    """Hold back what C++ writes to standard error meanwhile; pass on everything but TensorFlow's start-up lines.

    Log levels do not reach these lines: they are written before TensorFlow's logging is set up.
    """
    sys.stderr.flush()
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        real = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            for line in held:
                if not _NOISE.match(line):
                    os.write(2, line)
