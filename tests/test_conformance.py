"""ONNX's own node tests, a sample of them and all of them: right answers, or a sentence; see `conformance.py`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from conformance import ENGINES, cases, outcomes

EVERY = 25
"""One test of so many in `make test`; `make test-long` asks them all."""

LEAST_RIGHT = {"onnxruntime": 1770, "reference": 1860}
"""Of the 1,884 tests of onnx 1.23, some fewer than were right when this was written: 1,782 and 1,870."""


@pytest.fixture(scope="module")
def node_tests() -> list[Any]:
    return cases()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_node_test_is_right_or_refused_with_a_reason(engine: str, node_tests: list[Any]) -> None:
    found = list(outcomes(node_tests[::EVERY], engine))
    assert not [one.name for one in found if one.verdict == "wrong"]
    refused = [one for one in found if one.verdict == "refused"]
    assert all(one.why.endswith(".") and "''" not in one.why and "onnxruntime_src" not in one.why for one in refused)
    assert sum(one.verdict == "right" for one in found) > 0.9 * len(found)


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES)
def test_no_answer_to_a_node_test_is_worse_than_the_tools_own(engine: str, node_tests: list[Any]) -> None:
    found = list(outcomes(node_tests, engine))
    counts = Counter(one.verdict for one in found)
    assert counts["right"] >= LEAST_RIGHT[engine], counts
    assert not [one.name for one in found if one.verdict == "wrong"]
