"""The exercises of the notebooks: `check` says whether an answer is right, and why.

A file per chapter; in it, `EXERCISES` maps a number such as "3.1" to the function that judges an answer. These work
out what is right from the same files and calls as the reader, where they can, so nothing is given away here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from importlib import import_module

from .language import said

MIME = "application/vnd.onnx-workbench.verdict+json"
"""A verdict as data beside its sentence, in the notebook's file: ``{"exercise": "3.1", "right": true}``."""

_COLOURS = {True: "#2e7d32", False: "#c62828", None: "#757575"}
_MARKS = {True: "✓", False: "✗", None: "…"}
_WORDS = {True: "Right.", False: "Not yet.", None: "No answer yet."}


@dataclass(frozen=True)
class Verdict:
    """What `check` found. `right` is None where there is no answer yet; `why` is plain text, in English.

    It is shown in the language of `said`.
    """

    right: bool | None
    why: str
    exercise: str = ""

    def __repr__(self) -> str:
        return f"{said(_WORDS[self.right])} {said(self.why)}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return {MIME: {"exercise": self.exercise, "right": self.right}}

    def _repr_html_(self) -> str:
        return (
            f'<div role="status" style="border-left:.3rem solid {_COLOURS[self.right]};padding:.3rem .8rem;'
            f'margin:.3rem 0;max-width:46rem"><b>{_MARKS[self.right]} {said(_WORDS[self.right])}</b> '
            f"{escape(said(self.why))}</div>"
        )


def right(why: str) -> Verdict:
    """The answer is right; `why` says what it shows."""
    return Verdict(True, why)


def not_yet(why: str) -> Verdict:
    """The answer is wrong; `why` says what it would be the answer to, or where to look, without giving it away."""
    return Verdict(False, why)


def check(number: str, answer: object = ...) -> Verdict:
    """Judge an answer.

    Args:
        number: of the exercise, as in the text: "3.1".
        answer: the reader's; ``...``, which stands in the notebook, is none.

    Raises:
        KeyError: there is no such exercise.
        AssertionError: it is not right, and nbgrader runs the cell, which counts one without an error as right.
    """
    verdict = replace(_judged(number, answer), exercise=number)
    if verdict.right is not True and "NBGRADER_EXECUTION" in os.environ:
        raise AssertionError(verdict)
    return verdict


def _judged(number: str, answer: object) -> Verdict:
    chapter = import_module(f".chapter_{number.split('.')[0]}", __name__)
    judge: Callable[[object], Verdict] = chapter.EXERCISES[number]
    if answer is ...:
        return Verdict(
            None, "Put your answer in the place of the three dots in the cell above, run that cell, then this."
        )
    try:
        return judge(answer)
    except Exception as error:  # an answer may be anything
        said = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        return not_yet(f"This answer could not be looked at ({said}). Is it what the exercise asks for?")
