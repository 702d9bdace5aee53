"""Which axis of an input holds the rows: of a recurrent state it is not the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_files import onnx_file

from workbench import compare, load_engine
from workbench.files.header import ValueInfo
from workbench.invented import row_axes

HIDDEN, FLOAT = 4, TensorProto.FLOAT


def recurrent(path: Path, x: list[Any], state: list[Any], y: list[Any], *, seed: int = 0) -> Path:
    """A GRU; its input is [rows, steps, features] where that begins with "N", else time first."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (1, 3 * HIDDEN, 3), "R": (1, 3 * HIDDEN, HIDDEN)}
    weights = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    turn = [1, 0, 2] if x[0] == "N" else [0, 1, 2]
    nodes = [
        helper.make_node("Transpose", ["x"], ["by_time"], perm=turn),
        helper.make_node("GRU", ["by_time", "W", "R", "", "", "h"], ["Y", "Y_h"], hidden_size=HIDDEN),
    ]
    takes, gives = {"x": (FLOAT, x), "h": (FLOAT, state)}, {"Y": (FLOAT, y), "Y_h": (FLOAT, state)}
    return onnx_file(path, nodes, takes, gives, weights)


LAYOUTS: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "rows first": (["N", "S", 3], [1, "N", HIDDEN], ["S", 1, "N", HIDDEN]),
    "time first": (["S", "N", 3], [1, "N", HIDDEN], ["S", 1, "N", HIDDEN]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("worker", [False, True])
def test_rows_are_counted_and_taken_apart_along_their_own_axis(layout: str, worker: bool, tmp_path: Path) -> None:
    x, state, y = LAYOUTS[layout]
    path = recurrent(tmp_path / "a.onnx", x, state, y)
    size = {"N": 6, "S": 5}
    rng = np.random.default_rng(1)
    rows = {"x": rng.random([size.get(dim, dim) for dim in x], np.float32), "h": rng.random((1, 6, HIDDEN), np.float32)}
    with load_engine(path, worker=worker) as native, load_engine(path) as ours:
        found = compare(native, ours, rows, batch=2, seconds=0.05, repeat=1, one_row=True)
    assert (found.agreement.samples, found.rows, found.one_row is not None) == (6, 2, True)
    assert found.agreement.within_tolerance
    kept = found.answers
    np.testing.assert_array_equal(kept.inputs["h"][:, 0], rows["h"][0])


def test_made_up_rows_are_as_many_of_a_state_as_of_the_others(tmp_path: Path) -> None:
    path = recurrent(tmp_path / "a.onnx", *LAYOUTS["rows first"])
    other = recurrent(tmp_path / "b.onnx", *LAYOUTS["rows first"], seed=1)
    for second, agrees in ((path, True), (other, False)):
        with load_engine(path) as native, load_engine(second) as ours:
            found = compare(native, ours, rows=8, seconds=0.05, repeat=1, one_row=False)
        assert (found.agreement.samples, found.agreement.within_tolerance) == (8, agrees)


def test_one_file_that_names_its_axes_tells_for_both(tmp_path: Path) -> None:
    path = recurrent(tmp_path / "a.onnx", *LAYOUTS["time first"])
    plain = recurrent(tmp_path / "b.onnx", [None, None, 3], [1, None, HIDDEN], [None, 1, None, HIDDEN])
    rows = {"x": np.ones((5, 6, 3), np.float32), "h": np.zeros((1, 6, HIDDEN), np.float32)}
    for pair in ((path, plain), (plain, path)):
        with load_engine(pair[0]) as native, load_engine(pair[1]) as ours:
            assert compare(native, ours, rows, seconds=0.05, repeat=1, one_row=False).agreement.samples == 6


@pytest.mark.parametrize(
    ("inputs", "outputs", "axes"),
    [
        ({"x": ("batch", "seq"), "mask": ("seq", "seq")}, {"y": ("batch", "seq", 8)}, {"x": 0, "mask": 0, "y": 0}),
        ({"x": ("batch", "seq"), "mask": (1, "seq", "seq")}, {"y": ("batch", "seq", 8)}, {"x": 0, "y": 0}),
        (
            {"sound": ("batch", 512), "state": (2, "batch", 64), "sr": ()}, {"p": ("batch", 1)},
            {"sound": 0, "state": 1, "p": 0},
        ),
        ({"x": (None, 8), "state": (2, None, 4)}, {"y": (None, 3)}, {"x": 0, "state": 1, "y": 0}),
        ({"x": ("?", 3, 32, 32)}, {"y": ("boxes", 4)}, {"x": 0, "y": 0}),
        ({"weights": (3, "n")}, {"y": (3, "n")}, {}),
    ],
)  # fmt: skip
def test_the_axis_of_rows_is_found_by_names_and_states(inputs: Any, outputs: Any, axes: dict[str, int]) -> None:
    takes, gives = (
        tuple(ValueInfo(name, "float32", shape) for name, shape in part.items()) for part in (inputs, outputs)
    )
    assert row_axes(takes, gives) == axes
