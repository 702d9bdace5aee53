"""What the judges say, in the reader's language.

Judges write English. A catalogue beside them, `ko.json`, maps each sentence to its translation, with ``{0}``, ``{1}`` …
in the place of values; the environment variable WORKBENCH_LANGUAGE names the catalogue.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path


def said(sentence: str) -> str:
    """A judge's sentence in the language of WORKBENCH_LANGUAGE.

    What no catalogue holds stays as it is: values, and sentences of the workbench and of libraries.
    """
    for pattern, theirs in _templates(os.environ.get("WORKBENCH_LANGUAGE", "")):
        if found := pattern.fullmatch(sentence):
            return theirs.format(*map(said, found.groups()))
    return sentence


@cache
def _templates(language: str) -> list[tuple[re.Pattern[str], str]]:
    """Those with the most words of their own first: a shorter one may fit the same sentence."""
    path = Path(__file__).parent / f"{language}.json"
    if not language.isalpha() or not path.is_file():
        return []
    catalogue: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    found = []
    for english in sorted(catalogue, key=lambda one: -len(re.sub(r"\{\d\}", "", one))):
        own = re.split(r"\{\d\}", english)
        found.append((re.compile("(.*?)".join(map(re.escape, own)), re.DOTALL), catalogue[english]))
    return found
