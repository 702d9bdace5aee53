"""What the engines of models without time share: inputs that fit, answers or one sentence, an end."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Self, TypeVar

import numpy as np

from ..agreement import Tolerance
from ..errors import BadInput, WorkbenchError
from ..files.header import ValueInfo
from ..kind import ENGINE_NAMES
from ..words import first_line
from .inputs import CastWarning, cast, check_shape, match, named

Arrays = dict[str, np.ndarray]
Calls = dict[str, Callable[[], object]]


Result = TypeVar("Result")

STEPS = 30
"""Time steps an image is held for, unless said otherwise: 30 ms, as in NengoDL's examples and the paper."""


class Closing:
    """An engine's end, and the `with` statement. `path` names the model in sentences."""

    path: str
    _closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise WorkbenchError(f"The engine of {self.path} is closed; load it again.")


class ModelEngine(Closing):
    """A model in some engine; see `workbench.engines.Engine`. The engines fill in `answer` and `_calls`.

    Args:
        path: the file, or what to call an object in memory.
        why: the sentence for `why`.

    Attributes:
        names_gaps: missing text is given to it by its name.
    """

    name = ""
    names_gaps = False
    version = ""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        self.why = why or f"You asked for {ENGINE_NAMES[self.name]}."
        self.remarks: tuple[str, ...] = ()
        self.inputs: tuple[ValueInfo, ...] = ()
        self.outputs: tuple[ValueInfo, ...] = ()
        self.classes: dict[str, tuple[Any, ...]] = {}
        self.tolerance: Tolerance | None = None
        self.columns: tuple[str, ...] = ()
        self._optional: tuple[ValueInfo, ...] = ()
        self._warned: set[tuple[str, str]] = set()

    def _remark(self, sentence: str) -> None:
        """Say how the model is run, where that is not as its file says: part of `why`, and in comparisons."""
        self.remarks += (sentence,)
        self.why += f" {sentence}"

    def __repr__(self) -> str:
        return f"<{ENGINE_NAMES[self.name]} {self.version}: {self.path}>"

    def run(self, inputs: Any) -> Arrays:
        """Answer one batch; see `workbench.engines.Engine.run`.

        A pandas DataFrame fits a model with one input (all columns), or one with an input per column (by name).
        Values are cast to the input's dtype with a `CastWarning`, once per input; a cast that would change what
        they mean (overflow, fractions to int, text to numbers) raises instead.
        """
        return self._asked(self.answer, self._feeds(inputs))

    def calls(self, inputs: Any) -> Calls:
        """The ordinary ways to ask; see `workbench.engines.Engine.calls`."""
        return self._calls(self._feeds(inputs))

    def answer(self, feeds: Arrays) -> Arrays:
        """`run` without its checks: {input name: array} of the right shapes to {output name: array}. Raises what the
        framework raises."""
        raise NotImplementedError

    def _calls(self, feeds: Arrays) -> Calls:
        raise NotImplementedError

    def _asked(self, ask: Callable[[Arrays], Result], feeds: Arrays) -> Result:
        """``ask(feeds)``, with one sentence where the framework refuses them."""
        try:
            return ask(feeds)
        except (MemoryError, WorkbenchError):
            raise
        except Exception as error:
            empty = next((name for name, array in feeds.items() if array.ndim and not len(array)), None)
            # It may be why, and it may be as it should be: an empty optional input.
            on = "on this input" if empty is None else f"on these inputs, of which {empty!r} has no rows"
            raise BadInput(f"{ENGINE_NAMES[self.name]} could not run the model {on}: {self._plain(error)}.") from error

    def _feeds(self, inputs: Any) -> Arrays:
        self._check_open()
        feeds = {}
        for info, value in match(inputs, self.inputs, self._optional):
            array, cast_from = cast(value, info)
            if cast_from and (info.name, cast_from) not in self._warned:
                self._warned.add((info.name, cast_from))
                message = f"Input {info.name!r} was cast from {cast_from} to {info.sort}."
                warnings.warn(message, CastWarning, stacklevel=3)
            check_shape(array, info)
            feeds[info.name] = named(array) if info.gaps and self.names_gaps else array
        return feeds

    def _plain(self, error: Exception) -> str:
        """What the framework said, without its own codes."""
        return first_line(error)
