"""ONNX's own reference implementation: every standard operator as NumPy code that says what it means. Slow."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UnsupportedModel
from ..safety import external
from ..words import first_line
from .base import Arrays, Calls, ModelEngine
from .rewritten import inlined
from .values import CONTAINERS, answered, unboxed

if TYPE_CHECKING:
    import onnx.reference


_LACKS = re.compile(r"(?:implementation for operator|Node type) '(.*?)' (?:and|from) domain '(.*?)'")


class ReferenceEngine(ModelEngine):
    """An ONNX model in ``onnx.reference.ReferenceEvaluator``: it answers what ONNX Runtime has no kernels for, such as
    bfloat16, new opsets and previews of operators, and takes many times as long. See `workbench.engines.Engine`.

    Args:
        path: the .onnx file; files with external data are looked for beside it and nowhere else.
        threads: NumPy's libraries take what they find when they are imported, which is this many in a worker process.
        why: the sentence for `why`.

    Raises:
        UnreadableFile: the file or its external data is missing or damaged.
        UnsupportedModel: it holds operators that ONNX does not define.
    """

    name = "reference"

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None, why: str = "") -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        super().__init__(os.fspath(path), why)
        self._remark("It is written to be read, not to be fast: it takes many times as long as other engines.")
        self.version: str = onnx.__version__
        header = external.check(Path(self.path))
        self.inputs, self.outputs = header.graph.inputs, header.graph.outputs
        try:
            self._model: onnx.reference.ReferenceEvaluator | None = ReferenceEvaluator(inlined(onnx.load(self.path)))
        except Exception as error:
            lacks = _LACKS.search(str(error))
            why = f"it has no operator {lacks[1]} (domain {lacks[2] or 'ai.onnx'})" if lacks else first_line(error)
            raise UnsupportedModel(f"ONNX's reference implementation cannot load {self.path}: {why}.") from error

    def close(self) -> None:
        super().close()
        self._model = None

    def answer(self, feeds: Arrays) -> Arrays:
        assert self._model is not None
        # What is optional and was not given is None.
        given: dict[str, Any] = {info.name: None for info in self.inputs} | feeds
        given |= {info.name: unboxed(given[info.name]) for info in self.inputs if info.dtype in CONTAINERS}
        results = self._model.run(None, given)
        return {info.name: answered(value) for info, value in zip(self.outputs, results, strict=True)}

    def _calls(self, feeds: Arrays) -> Calls:
        return {"ReferenceEvaluator.run": lambda: self.answer(feeds)}
