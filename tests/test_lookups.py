"""Two ONNX files that look something up are asked the keys their tables know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import onnx_file

from workbench import compare, load_engine
from workbench.lookups import keys_of

TEXT, WHOLE, FLOAT = TensorProto.STRING, TensorProto.INT64, TensorProto.FLOAT


def written(path: Path, nodes: list[onnx.NodeProto], takes: tuple[int, list[Any]], gives: int, **stored: Any) -> Path:
    weights = {name: helper.make_tensor(name, *of) for name, of in stored.items()}
    return onnx_file(path, nodes, {"x": takes}, {"y": (gives, None)}, weights)


def node(op_type: str, inputs: str, domain: str = "ai.onnx.ml", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), ["y"], domain=domain, **attributes)


COLOURS = ["crimson", "teal", "ochre"]
MANY = {"keys_strings": [f"k{i}" for i in range(200)]}
PAIRS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "text to number": (
        "LabelEncoder", {"keys_strings": COLOURS, "values_int64s": [5, 6, 7]}, {"values_int64s": [5, 6, 8]},
    ),
    "number to text": (
        "LabelEncoder", {"keys_int64s": [1001, 2002], "values_strings": ["a", "b"]}, {"keys_int64s": [1001, 2003]},
    ),
    "a category": (
        "CategoryMapper", {"cats_strings": COLOURS, "cats_int64s": [1, 2, 3]}, {"cats_int64s": [1, 3, 2]},
    ),
    "one among many": (
        "LabelEncoder", {**MANY, "values_int64s": [*range(200)]}, {"values_int64s": [*range(199), 3]},
    ),
    "a column each": (
        "OneHotEncoder", {"cats_strings": COLOURS, "zeros": 1}, {"cats_strings": [*COLOURS[:2], "ocher"]},
    ),
    "a word in another case": (
        "LabelEncoder", {"keys_strings": ["Paris"], "values_int64s": [5]},
        {"keys_strings": ["Paris", "PARIS"], "values_int64s": [5, 5]},
    ),
}  # fmt: skip
"""An operator, what it knows, and what another one knows otherwise."""


@pytest.mark.parametrize("pair", PAIRS)
def test_a_comparison_asks_the_keys_that_tables_know(pair: str, tmp_path: Path) -> None:
    op_type, one, other = PAIRS[pair]
    takes = (WHOLE if "keys_int64s" in one else TEXT, ["N", 1])
    gives = TEXT if "values_strings" in one else FLOAT if op_type == "OneHotEncoder" else WHOLE
    paths = [
        written(tmp_path / f"{at}.onnx", [node(op_type, "x", **knows)], takes, gives)
        for at, knows in enumerate((one, one | other))
    ]
    for second, agrees in ((0, True), (1, False)):
        with load_engine(paths[0]) as native, load_engine(paths[second]) as ours:
            found = compare(native, ours, seconds=0.05, repeat=1, one_row=False)
        assert found.agreement.within_tolerance is agrees


def test_every_column_of_a_table_is_given_every_key(tmp_path: Path) -> None:
    def columns(last: int) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Split", ["x"], ["left", "right"], axis=1),
            helper.make_node("Identity", ["left"], ["first"]),
            helper.make_node(
                "LabelEncoder", ["right"], ["y"], domain="ai.onnx.ml", keys_strings=COLOURS, values_int64s=[1, 2, last]
            ),
        ]

    paths = [written(tmp_path / f"{last}.onnx", columns(last), (TEXT, ["N", 2]), WHOLE) for last in (3, 4)]
    with load_engine(paths[0]) as native, load_engine(paths[1]) as ours:
        assert not compare(native, ours, seconds=0.05, repeat=1, one_row=False).agreement.within_tolerance


def test_words_that_are_left_out_and_terms_are_known_too(tmp_path: Path) -> None:
    words = written(
        tmp_path / "stop.onnx",
        [node("StringNormalizer", "x", "", stopwords=["the", "of"], case_change_action="NONE", is_case_sensitive=1)],
        (TEXT, ["N"]),
        TEXT,
    )
    terms = written(
        tmp_path / "terms.onnx",
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            node(
                "TfIdfVectorizer", "flat", "", mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0,
                ngram_counts=[0], ngram_indexes=[0, 1], pool_strings=["fox", "dog"],
            ),
        ],
        (TEXT, ["N", 3]),
        FLOAT,
    )  # fmt: skip
    stored = written(
        tmp_path / "equal.onnx", [node("Equal", "x city", "")], (TEXT, ["N", 1]), TensorProto.BOOL,
        city=(TEXT, [1], [b"Bonn"]),
    )  # fmt: skip
    assert [keys_of(path)["x"] for path in (words, terms, stored)] == [("the", "of"), ("fox", "dog"), ("Bonn",)]


def test_a_file_of_another_format_has_no_keys(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"\x00\x01no model")
    assert keys_of(tmp_path / "no.onnx") == {} == keys_of(tmp_path / "absent")


def test_what_a_table_knows_reaches_only_the_inputs_it_is_asked_for(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("LabelEncoder", ["a"], ["one"], domain="ai.onnx.ml", keys_strings=["x"], values_int64s=[1]),
        helper.make_node("LabelEncoder", ["b"], ["two"], domain="ai.onnx.ml", keys_strings=["y"], values_int64s=[1]),
        helper.make_node("Add", ["one", "two"], ["sum"]),
    ]
    two = onnx_file(tmp_path / "m.onnx", nodes, dict.fromkeys("ab", (TEXT, ["N", 1])), {"sum": (WHOLE, ["N", 1])})
    assert keys_of(two) == {"a": ("x",), "b": ("y",)}
