"""Exact names, from the lists that the scanners keep beside them."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def listed(file: Path) -> dict[str, frozenset[str]]:
    """{section: names} of a list: ``[section]``, then names by the line, those of one module behind ``module:``."""
    sections: dict[str, set[str]] = {}
    names: set[str] = set()
    for line in file.read_text("utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("["):
            names = sections.setdefault(text.strip("[]"), set())
            continue
        module, _, rest = text.rpartition(":")
        names.update(f"{module}.{name}" if module else name for name in rest.split())
    return {section: frozenset(found) for section, found in sections.items()}
