"""A person's own files as rows for a model: every type, every misfit and its sentence, nothing hostile obeyed."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from workbench import rows as module
from workbench.__main__ import _rows
from workbench.engines import load_engine
from workbench.errors import BadInput, UnreadableFile
from workbench.files.header import ValueInfo
from workbench.paper.data import read

FOUR = (ValueInfo("X", "float32", ("N", 4)),)
LENET = (ValueInfo("image", "float32", ("N", 28, 28, 1)),)
COLUMNS = ["length", "width", "height", "weight"]


def takes(*shape: int | str | None, dtype: str = "float32") -> tuple[ValueInfo, ...]:
    return (ValueInfo("image", dtype, shape),)


def per_column(*names: str, dtype: str = "float32") -> tuple[ValueInfo, ...]:
    return tuple(ValueInfo(name, dtype, ("N", 1)) for name in names)


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(np.arange(12).reshape(3, 4) + 0.5, columns=COLUMNS)


def csv(folder: Path, text: str, name: str = "rows.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


# --- tables


WRITERS: dict[str, Any] = {
    "comma.csv": lambda table, path: table.to_csv(path, index=False),
    "bare.csv": lambda table, path: table.to_csv(path, index=False, header=False),
    "index.csv": lambda table, path: table.to_csv(path),
    "counted.csv": lambda table, path: table.set_axis(range(4), axis=1).to_csv(path, index=False),
    "continental.csv": lambda table, path: table.to_csv(path, index=False, sep=";", decimal=","),
    "tabs.tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "savetxt.txt": lambda table, path: np.savetxt(path, table.to_numpy()),
    "excel.csv": lambda table, path: table.to_csv(path, index=False, encoding="utf-16"),
    "bom.csv": lambda table, path: table.to_csv(path, index=False, encoding="utf-8-sig"),
    "plain.parquet": lambda table, path: table.to_parquet(path),
    "indexed.parquet": lambda table, path: table.set_axis(["a", "b", "c"]).to_parquet(path),
    "array.npy": lambda table, path: np.save(path, table.to_numpy()),
    "arrays.npz": lambda table, path: np.savez(path, X=table.to_numpy()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_rows_come_out_of_every_kind_of_file(name: str, table: pd.DataFrame, tmp_path: Path) -> None:
    WRITERS[name](table, tmp_path / name)
    found = read(tmp_path / name, FOUR)
    assert isinstance(found.inputs, np.ndarray) and found.inputs.dtype == np.float32
    np.testing.assert_array_equal(found.inputs, table.to_numpy())  # halves are exact in float32
    assert found.names in ((), tuple(COLUMNS), ("0", "1", "2", "3")) and len(found) == 3
    assert found.targets is None and found.source == str(tmp_path / name)


# Names that no reader could take for a number or strip; separators and quotes inside them are fair.
NAMES = st.text(st.sampled_from("abcXYZ;,\"' |ü"), min_size=1, max_size=6).map(lambda text: f"n{text}n")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.integers(1, 5).flatmap(
        lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=6)
    ),
    names=st.lists(NAMES, min_size=5, max_size=5, unique=True),
    form=st.sampled_from(["csv", "bare", "parquet"]),
)
def test_what_is_written_is_read_back_to_the_last_digit(
    cells: list[list[float]], names: list[str], form: str, tmp_path: Path
) -> None:
    width = len(cells[0])
    table = pd.DataFrame(cells, columns=names[:width], dtype="float64")
    path = tmp_path / "rows.file"
    if form == "parquet":
        table.to_parquet(path)
    else:
        path = path.with_suffix(".csv")
        table.to_csv(path, index=False, header=form == "csv")
    found = read(path, (ValueInfo("X", "float64", ("N", width)),))
    np.testing.assert_array_equal(found.inputs, table.to_numpy())
    assert found.names == (() if form == "bare" else tuple(names[:width]))


def test_columns_are_put_into_the_models_order_and_said_so(table: pd.DataFrame, tmp_path: Path) -> None:
    table[[*COLUMNS[::-1]]].assign(species="x").to_csv(tmp_path / "rows.csv", index=False)
    found = read(tmp_path / "rows.csv", per_column(*COLUMNS))
    assert isinstance(found.inputs, dict) and list(found.inputs) == COLUMNS == list(found.names)
    for name in COLUMNS:
        np.testing.assert_array_equal(found.inputs[name], table[[name]])
    ordered, left = found.notes
    assert ordered == "The columns were put into the model's order: 'length', 'width', 'height', 'weight'."
    assert left.startswith("Left out, for the model takes no such column: 'species'") and "target='species'" in left
    # For a model with one input for all columns, the person says the order.
    one = read(tmp_path / "rows.csv", FOUR, columns=COLUMNS, target="species")
    np.testing.assert_array_equal(one.inputs, table.to_numpy())
    assert one.targets is not None and one.targets.tolist() == ["x"] * 3 and one.notes == (ordered,)


def test_columns_with_other_names_are_taken_in_their_order(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_csv(tmp_path / "rows.csv", index=False)
    found = read(tmp_path / "rows.csv", per_column("a", "b", "c", "d"))
    assert isinstance(found.inputs, dict)
    np.testing.assert_array_equal(found.inputs["b"], table[["width"]])
    assert "not named as the model's ('a', 'b', 'c', 'd')" in found.notes[0]


@pytest.mark.parametrize("header", ["a,b,c,d,species", "Label,a,b,c,d"])
def test_the_one_column_called_as_answers_are_is_taken_as_these_where_it_is_one_too_many(
    header: str, tmp_path: Path
) -> None:
    line = {"a,b,c,d,species": "0.5,1.5,2.5,3.5,rose\n", "Label,a,b,c,d": "rose,0.5,1.5,2.5,3.5\n"}[header]
    found = read(csv(tmp_path, header + "\n" + line * 3), FOUR)
    assert found.targets is not None and found.targets.tolist() == ["rose"] * 3
    np.testing.assert_array_equal(found.inputs, [[0.5, 1.5, 2.5, 3.5]] * 3)
    assert any("was taken as the right answers" in note for note in found.notes)
    # Where the model takes all columns, none is left out.
    assert read(csv(tmp_path, "a,b,c,label\n" + "1,2,3,4\n" * 3), FOUR).targets is None


@pytest.mark.parametrize(
    ("header", "last", "target"),
    [
        ("a,label,c,d,target", "0.5", "'target'"),  # by its name, where two are called so
        ("a,b,c,d,e", "0.25", "'e'"),  # no name tells: the last
        ("", "rose", "-1"),
    ],
)
def test_a_column_too_many_is_told_which_and_how_to_name_it(
    header: str, last: str, target: str, tmp_path: Path
) -> None:
    line = f"0.5,1.5,2.5,3.5,{last}\n"
    path = csv(tmp_path, (header + "\n") * bool(header) + line * 3)
    with pytest.raises(
        BadInput, match=r"^rows\.csv: The model takes 4 columns, and there are 5; .*right answers"
    ) as no:
        read(path, FOUR)
    assert f"target={target} takes it" in str(no.value)
    # What the sentence says works.
    found = read(path, FOUR, target=target.strip("'") if header else int(target))
    assert found.targets is not None and len(found.targets) == 3 and len(found) == 3


@pytest.mark.parametrize(
    ("text", "inputs", "sentence"),
    [
        ("a,b,c\n1,2,3\n", FOUR, "The model takes 4 columns, and there are 3: 'a', 'b', 'c'."),
        ("1,2,3\n", FOUR, "The model takes 4 columns, and there are 3."),
        ("a,b,c,d,e,f\n1,2,3,4,5,6\n", FOUR, "there are 6: 'a', 'b', 'c', 'd', 'e', 'f'; choose the model's"),
        (
            "a,b,c,d\n1,2,3,4\n5,high,7,8\n",
            FOUR,
            "Column 'b' holds text where the model takes numbers: 'high' in row 2",
        ),
        ("1,2,3,x\n", FOUR, "Column 3 (counted from 0) holds text where the model takes numbers: 'x' in row 1."),
        (
            "a,b\n1,\n",
            per_column("a", "b", dtype="int64"),
            "Column 'b' has no value in row 1, and the model takes int64",
        ),
        ("a,b\n1,1.5\n", per_column("a", "b", dtype="int64"), "Input 'b' takes int64 values, and 1.5 (float64) is not"),
        (
            "a,c\n1,2\n",
            per_column("a", "b"),
            "The model takes a column 'b', and there is none: the columns here are 'a'",
        ),
        ("a,b,c,d\n", FOUR, "There are no rows in it."),
    ],
)
def test_a_table_that_does_not_fit_is_told_why(
    text: str, inputs: tuple[ValueInfo, ...], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as refused:
        read(csv(tmp_path, text), inputs)
    assert sentence in str(refused.value) and str(refused.value).startswith("rows.csv: ")


def test_missing_values_are_counted_and_the_first_is_shown(tmp_path: Path) -> None:
    found = read(csv(tmp_path, "a,b,c,d\n1,2,3,4\n5,n/a,7,?\n9,10,,12\n"), FOUR)
    assert np.isnan(found.inputs).sum() == 3
    assert found.notes[0].startswith("3 values are missing (first: column 'b', row 2); the model gets NaN")


def test_text_goes_to_a_model_that_takes_text(tmp_path: Path) -> None:
    path = csv(tmp_path, "colour,size,target\nred,1,a\nno,2,NA\n,3,c\n")
    takes_text = ValueInfo("colour", "string", ("N", 1)), ValueInfo("size", "float32", ("N",))
    found = read(path, takes_text, target="target")
    assert isinstance(found.inputs, dict)
    assert found.inputs["colour"].tolist() == [["red"], ["no"]] and found.inputs["size"].tolist() == [1, 2]
    # A class may have any name.
    assert found.targets is not None and found.targets.tolist() == ["a", "NA"]
    assert any("1 row in which text is missing was left out" in note for note in found.notes)


@pytest.mark.parametrize("words", [("NA", "", "None", "-"), ("null", "NaN", "#N/A", "none")])
def test_text_is_missing_where_pandas_reads_it_so(words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame({"colour": ["red", *words], "size": range(5)}).to_csv(path, index=False)
    gaps = ValueInfo("colour", "string", ("N",), gaps=True)
    found = read(path, (gaps, ValueInfo("size", "float32", ("N",))))
    assert isinstance(found.inputs, dict)
    theirs = pd.read_csv(path)["colour"]
    assert [isinstance(item, str) for item in found.inputs["colour"]] == theirs.notna().tolist()
    assert [item for item in found.inputs["colour"] if isinstance(item, str)] == theirs.dropna().tolist()
    # A Parquet file holds what is missing as such: there words are words.
    pd.DataFrame({"colour": ["NA", None]}).to_parquet(tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet", (gaps,))
    assert isinstance(found.inputs, np.ndarray) and [isinstance(item, str) for item in found.inputs] == [True, False]


def test_a_target_that_is_not_there_or_not_complete_is_refused(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,b\n1,x\n2,\n")
    with pytest.raises(BadInput, match=r"no column 'c' for the right answers; the columns are 'a', 'b'\."):
        read(path, takes("N", 1), target="c")
    with pytest.raises(BadInput, match="1 of the right answers in column 'b' are missing"):
        read(path, takes("N", 1), target="b")
    with pytest.raises(BadInput, match="no columns in it beside"):
        read(csv(tmp_path, "a\n1\n"), takes("N", 1), target="a")


def test_without_a_model_a_table_keeps_its_columns_and_types(tmp_path: Path) -> None:
    path = csv(tmp_path, "age,name,score\n30,Ann,0.5\n40,Bo,0.25\n")
    found = read(path)
    assert isinstance(found.inputs, dict) and found.inputs["age"].dtype == np.int64
    frame = found.frame
    assert frame is not None and frame.to_dict("list") == {"age": [30, 40], "name": ["Ann", "Bo"], "score": [0.5, 0.25]}
    # The command line's --sample.
    assert isinstance(given := _rows(str(path)), pd.DataFrame) and given.equals(frame)
    np.save(tmp_path / "a.npy", np.ones((2, 3)))
    assert isinstance(given := _rows(str(tmp_path / "a.npy")), np.ndarray) and given.shape == (2, 3)


def test_text_that_is_not_utf_8_is_read_and_said_so(tmp_path: Path) -> None:
    found = read(csv(tmp_path, "größe,b,c,d\n1,2,3,4\n", encoding="latin-1"), FOUR)
    assert found.names[0] == "größe" and "Latin-1" in found.notes[0]


def test_types_of_parquet_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"a": [1, 2], "day": pd.date_range("2020", periods=2), "c": 1.0, "d": 1}).to_parquet(path)
    with pytest.raises(BadInput, match="Column 'day' holds dates where the model takes numbers: '2020-01-01"):
        read(path, FOUR)
    pd.DataFrame({"a": [[1], [2]]}).to_parquet(path)
    with pytest.raises(BadInput, match="Column 'a' holds lists or records"):
        read(path, FOUR)
    pd.DataFrame({"a": pd.Categorical(["x", "y"])}).to_parquet(path)
    found = read(path, (ValueInfo("a", "string", ("N",)),))
    assert isinstance(found.inputs, np.ndarray) and found.inputs.tolist() == ["x", "y"]


# --- arrays

GREY = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)


@pytest.mark.parametrize(
    ("given_shape", "wanted", "note"),
    [
        ((5, 28, 28), ("N", 28, 28), None),
        ((5, 28, 28), ("N", 28, 28, 1), "Rows of shape (28, 28) were taken as (28, 28, 1)."),
        ((5, 28, 28), ("N", 1, 28, 28), "Rows of shape (28, 28) were taken as (1, 28, 28)."),
        ((5, 28, 28), ("N", 784), "Rows of shape (28, 28) were taken as (784,)."),
        ((5, 784), ("N", 28, 28, 1), "Rows of shape (784,) were taken as (28, 28, 1)."),
        ((1, 28, 28), (None, "steps", 784), "Rows of shape (28, 28) were taken as (784,)."),  # held over the steps
        ((28, 28), ("N", 28, 28, 1), "Rows of shape (28, 28) were taken as (28, 28, 1), as a single row."),
        ((784,), ("N", 784), "The array is taken, as a single row."),
    ],
)
def test_axes_are_mended_where_there_is_no_doubt(
    given_shape: tuple[int, ...], wanted: tuple[Any, ...], note: str | None, tmp_path: Path
) -> None:
    given = GREY.reshape(-1)[: np.prod(given_shape)].reshape(given_shape)
    np.save(tmp_path / "a.npy", given)
    found = read(tmp_path / "a.npy", takes(*wanted), scale=1)
    assert isinstance(found.inputs, np.ndarray) and found.inputs.dtype == np.float32
    assert found.inputs.shape[1:] == tuple(dim for dim in wanted[1:] if dim != "steps")
    np.testing.assert_array_equal(found.inputs.reshape(-1), given.reshape(-1))
    assert found.notes == (() if note is None else (note,))


def test_the_colour_axis_is_moved(tmp_path: Path) -> None:
    last = np.random.default_rng(0).random((2, 20, 30, 3), np.float32)
    np.save(tmp_path / "last.npy", last)
    np.save(tmp_path / "first.npy", last.transpose(0, 3, 1, 2))
    first = read(tmp_path / "last.npy", takes("N", 3, 20, 30), scale=1)
    np.testing.assert_array_equal(first.inputs, last.transpose(0, 3, 1, 2))
    assert first.notes == ("The colour axis was put first, as the model takes it (NHWC to NCHW).",)
    np.testing.assert_array_equal(read(tmp_path / "first.npy", takes("N", 20, 30, 3)).inputs, last)


@pytest.mark.parametrize("wanted", [("N", 28, 28, 3), ("N", 32, 32), ("N", 56, 14), ("N", 14, 56)])
def test_other_axes_are_not_guessed(wanted: tuple[Any, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    with pytest.raises(BadInput, match=r"a\.npy: Input 'image' takes shape \(any, .* but \(5, 28, 28\) was given"):
        read(tmp_path / "a.npy", takes(*wanted))


def test_a_fixed_batch_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 4)))
    found = read(tmp_path / "a.npy", takes(2, 4))
    assert found.notes == ("The model takes exactly 2 row(s) at a time, and here are 5.",)


def test_the_scale_is_shown_and_changed_on_request(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    path = tmp_path / "a.npy"
    plain, scaled, back = (read(path, takes("N", 28, 28), scale=scale) for scale in (None, 1 / 255, 255))
    assert plain.notes == ("The values run from 0 to 255; a model trained on 0 to 1 wants scale=1/255.",)
    np.testing.assert_allclose(scaled.inputs, GREY / 255, rtol=1e-6)  # rounded to float32
    np.testing.assert_array_equal(back.inputs, GREY.astype(np.float32) * 255)  # uint8 would have wrapped round
    np.save(path, GREY / 255)
    assert read(path, takes("N", 28, 28)).notes[0].endswith("a model trained on 0 to 255 wants scale=255.")
    # A model that takes bytes says its scale itself, and four lengths are no picture.
    np.save(path, GREY)
    assert read(path, takes("N", 28, 28, dtype="uint8")).notes == ()
    np.save(path, np.ones((3, 4)) * 5)
    assert read(path, FOUR).notes == ()


def test_a_column_of_an_array_can_be_the_right_answers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(15).reshape(3, 5))
    with pytest.raises(BadInput, match="takes 4 columns, and there are 5; if the last holds"):
        read(tmp_path / "a.npy", FOUR)
    found = read(tmp_path / "a.npy", FOUR, target=-1)
    assert (
        found.targets is not None and found.targets.tolist() == [4, 9, 14] and found.inputs[1].tolist() == [5, 6, 7, 8]
    )
    typed = read(tmp_path / "a.npy", FOUR, target="-1")  # on a command line
    np.testing.assert_array_equal(typed.inputs, found.inputs)
    for wrong in (5, -6, "last"):
        with pytest.raises(BadInput, match="no column"):
            read(tmp_path / "a.npy", FOUR, target=wrong)


def test_arrays_are_found_by_the_inputs_names_or_the_usual_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    rows, answers = np.ones((3, 4)), np.arange(3)
    np.savez(path, x_train=rows + 1, y_train=answers + 1, x_test=rows, y_test=answers)
    found = read(path, FOUR)
    np.testing.assert_array_equal(found.inputs, rows)
    assert found.targets is not None and found.targets.tolist() == [0, 1, 2]
    assert found.notes == (
        "'y_test' was taken as the right answers.",
        "'x_test', 'y_test' of the file was taken, and 'x_train', 'y_train' left out.",
    )
    np.savez(path, a=rows[:, :1], b=rows[:, 1:2], truth=answers)
    both = read(path, per_column("b", "a"), target="truth")
    assert isinstance(both.inputs, dict) and list(both.inputs) == ["b", "a"] and both.targets is not None
    with pytest.raises(BadInput, match="no array 'c' for the model's input; it holds 'a', 'b', 'truth'"):
        read(path, per_column("a", "c"))
    with pytest.raises(BadInput, match="It holds 'a', 'b', 'truth'; which is for 'X'"):
        read(path, FOUR)
    with pytest.raises(BadInput, match="no array 'answers' in it"):
        read(path, FOUR, target="answers")
    np.savez(path, X=rows, y=answers[:2])
    with pytest.raises(BadInput, match=r"3 rows, but right answers of shape \(2,\)"):
        read(path, FOUR)


# --- pictures


def test_the_ten_digits_reach_the_papers_lenet_as_they_are(paper_models: Path) -> None:
    with load_engine(paper_models / "lenet-1.onnx") as engine:
        found = read(paper_models, engine.inputs)
        answers = engine.run(found.inputs)["predictions"]
        pixels = np.stack([np.asarray(Image.open(paper_models / name)) for name in found.files])
        expected = engine.run(pixels[..., None].astype(np.float32))["predictions"]
    assert found.files == tuple(f"test_mnist_{digit}.jpg" for digit in range(10))
    np.testing.assert_array_equal(answers, expected)
    # This network reads about half of MNIST's digits; the others of the ten it takes for 3, 6 and 9.
    assert (answers.argmax(1) == np.arange(10)).sum() == 6
    assert found.notes == ("The values run from 0 to 255; a model trained on 0 to 1 wants scale=1/255.",)


@pytest.mark.parametrize(
    ("wanted", "shape"),
    [
        (("N", 28, 28), (1, 28, 28)), (("N", 28, 28, 1), (1, 28, 28, 1)), (("N", 1, 28, 28), (1, 1, 28, 28)),
        (("N", 784), (1, 784)), (("N", "steps", 784), (1, 784)), (("N", 28, 28, 3), (1, 28, 28, 3)),
        (("N", 3, 28, 28), (1, 3, 28, 28)), (("N", None, None, 3), (1, 28, 28, 3)),
    ],
)  # fmt: skip
def test_a_picture_fits_every_layout(wanted: tuple[Any, ...], shape: tuple[int, ...], tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png", takes(*wanted))
    assert isinstance(found.inputs, np.ndarray) and found.inputs.shape == shape
    planes = np.moveaxis(found.inputs, 1 if wanted[1] == 3 else 3, 0) if 3 in wanted else found.inputs[None]
    for plane in planes:
        np.testing.assert_array_equal(plane.reshape(28, 28), GREY[0])


def test_a_photo_of_a_digit_becomes_one_like_mnists(tmp_path: Path) -> None:
    photo = np.full((90, 60, 3), 250, np.uint8)
    photo[20:70, 27:33] = 20  # a one
    Image.fromarray(photo).save(tmp_path / "one.png")
    found = read(tmp_path / "one.png", LENET)
    assert found.notes[:3] == (
        "Made grey.",
        "Resized to 28x28, the proportions changed.",
        "Dark on light, and a model trained on MNIST reads light on dark: pass invert=True.",
    )
    light = read(tmp_path / "one.png", LENET, invert=True, scale=1 / 255)
    assert "Inverted." in light.notes and not any("Dark on light" in note for note in light.notes)
    picture = np.asarray(light.inputs)[0, :, :, 0]
    assert picture[0, 0] < 0.05 and picture[14, 14] > 0.8
    np.testing.assert_allclose(picture, 1 - np.asarray(found.inputs)[0, :, :, 0] / 255, rtol=0, atol=1e-6)


def saved(path: Path, mode: str) -> Path:
    """The same picture, dark left half and light right half, stored in another way."""
    half = np.zeros((28, 28), np.uint8)
    half[:, 14:] = 200
    image = Image.fromarray(half)
    if mode == "16 bit":
        image = Image.fromarray(half.astype(np.uint16) * 257)
    elif mode == "transparent":
        image = Image.merge("LA", [image, Image.fromarray(np.where(half == 0, 0, 255).astype(np.uint8))])
    elif mode == "sideways":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees clockwise
        image.transpose(Image.Transpose.ROTATE_90).save(path, "PNG", exif=exif)
        return path
    elif mode == "CMYK":
        white = Image.new("L", image.size, 0)
        Image.merge("CMYK", [white, white, white, Image.fromarray(255 - half)]).save(path, "JPEG", quality=100)
        return path
    else:
        image = image.convert(mode)
    image.save(path, "PNG")
    return path


@pytest.mark.parametrize(
    ("mode", "dark", "light", "note"),
    [
        ("L", 0, 200, None),
        ("RGB", 0, 200, "Made grey."),
        ("RGBA", 0, 200, "Made grey."),
        ("P", 0, 200, "Made grey."),
        ("16 bit", 0, 200, "Brought from 16 bits to 8."),
        ("transparent", 255, 200, "Laid on white, where transparent."),
        ("sideways", 0, 200, "Turned upright, as the camera noted."),
        ("CMYK", 0, 200, "Made grey."),
    ],
)
def test_however_a_picture_is_stored_it_is_the_same(
    mode: str, dark: int, light: int, note: str | None, tmp_path: Path
) -> None:
    found = read(saved(tmp_path / "a.jpg", mode), takes("N", 28, 28, dtype="uint8"))
    # JPEG loses a little beside an edge, and conversions to grey round.
    np.testing.assert_allclose(np.asarray(found.inputs, int)[0, :, 2], dark, atol=3)
    np.testing.assert_allclose(np.asarray(found.inputs, int)[0, :, 25], light, atol=3)
    assert [one for one in found.notes if "MNIST" not in one] == ([] if note is None else [note])


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for name, count in (("cat", 2), ("dog", 1)):
        (tmp_path / "all" / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(GREY[index]).save(tmp_path / "all" / name / f"{index}.png")
    found = read(tmp_path / "all", LENET)
    assert found.targets is not None and found.targets.tolist() == ["cat", "cat", "dog"]
    assert found.files == ("cat/0.png", "cat/1.png", "dog/0.png")
    assert read(tmp_path / "all").inputs.dtype == np.uint8  # type: ignore[union-attr]


def test_pictures_that_do_not_fit_are_told_why(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    with pytest.raises(BadInput, match="The folder holds no pictures"):
        read(folder, LENET)
    Image.fromarray(GREY[0]).save(folder / "a.png")
    Image.fromarray(GREY[0][:20]).save(folder / "b.png")
    with pytest.raises(BadInput, match=r"b\.png is 28 by 20 pixels, and the first is 28 by 28"):
        read(folder, takes("N", None, None))
    with pytest.raises(BadInput, match=r"rows of shape \(4\), which is no picture"):
        read(folder, FOUR)
    with pytest.raises(BadInput, match=r"The model has 2 inputs \('a', 'b'\)"):
        read(folder, per_column("a", "b"))
    with pytest.raises(BadInput, match="Pictures have no columns"):
        read(folder, LENET, target="digit")


# --- files that are not what they seem


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size, and holds a few rows of it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\x00\x01\x02" * 50, "holds no rows that can be read"),
        ("a.csv", b"\n\n\n", "cannot be read as a table"),
        ("a.csv", b"a,b\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3"),
        ("a.csv", b"a,b\n1,2,3\n3,4,5\n", "its rows hold more values than its first line"),
        ("a.png", b"a,b\n1,2\n", "holds no rows that can be read"),
        ("a.jpg", b"\xff\xd8\xff" + b"x" * 100, "is no PNG or JPEG picture, whatever its name says"),
        ("a.png", png(60_000, 60_000), "has more than 89 million pixels"),
        ("a.png", png(10_000, 10_000), "has more than 89 million pixels"),
        ("a.png", png(100, 100), "is a damaged picture"),
        ("a.npy", b"\x93NUMPY\x01\x00", "cannot be read as arrays"),
        ("a.npz", b"PK\x03\x04 cut off", "cannot be read as arrays"),
        ("a.parquet", b"PAR1 cut off", "cannot be read as a Parquet table"),
        ("a.pkl", pickle.dumps([1, 2]), "holds no rows that can be read"),
    ],
)
def test_a_file_that_lies_or_is_damaged_gets_a_sentence(
    name: str, content: bytes, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFile) as refused:
        read(tmp_path / name, LENET)
    assert sentence in str(refused.value) and str(tmp_path / name) in str(refused.value)


def test_a_missing_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"a\.csv cannot be read as rows: there is no such file\."):
        read(tmp_path / "a.csv", LENET)


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    (tmp_path / "a.npy").rename(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", LENET).inputs.shape == (5, 28, 28, 1)  # type: ignore[union-attr]


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = np.array([Evil(mark)], object)
    np.save(tmp_path / "a.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "a.npz", X=evil)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Evil(mark)))
    for name, sentence in (("a.npy", "Python objects"), ("a.npz", "Python objects"), ("b.npy", "no rows")):
        with pytest.raises(UnreadableFile, match=sentence):
            read(tmp_path / name, FOUR)
    assert not mark.exists()
    pickle.loads((tmp_path / "b.npy").read_bytes())
    assert mark.exists()  # it would have


def test_what_would_fill_the_memory_is_refused_before_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1 << 20)
    zeros = np.zeros(1 << 20)
    np.savez_compressed(tmp_path / "a.npz", X=zeros)
    pd.DataFrame({"a": zeros}).to_parquet(tmp_path / "a.parquet")
    for name in ("a.npz", "a.parquet"):
        assert (tmp_path / name).stat().st_size < 1 << 16
        with pytest.raises(UnreadableFile, match="unpacks to"):
            read(tmp_path / name, FOUR)
    np.save(tmp_path / "a.npy", zeros)
    with pytest.raises(UnreadableFile, match="is larger than"):
        read(tmp_path / "a.npy", FOUR)
    csv(tmp_path, ",".join("abc"[i % 3] for i in range(200_000)) + "\n1\n")
    with pytest.raises(BadInput, match="200,000 columns; 100,000 are taken at most"):
        read(tmp_path / "rows.csv", FOUR)


def test_a_header_that_claims_more_than_the_file_holds_allocates_nothing(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        claim = {"descr": "<f8", "fortran_order": False, "shape": (1 << 50, 4)}
        np.lib.format.write_array_header_1_0(file, claim)
        file.write(b"few")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "X.npy")
    for name in ("a.npy", "a.npz"):
        with pytest.raises(UnreadableFile, match="cannot be read as arrays"):
            read(tmp_path / name, FOUR)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_never_gives_more_than_a_sentence(data: st.DataObject, tmp_path: Path) -> None:
    """Bytes changed or cut anywhere: rows or one sentence, no traceback of another library."""
    table = pd.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]})
    form = data.draw(st.sampled_from(["csv", "parquet", "npy", "npz", "png", "jpg"]))
    path = tmp_path / f"a.{form}"
    if form in ("png", "jpg"):
        Image.fromarray(GREY[0]).save(path)
    elif form == "npy":
        np.save(path, GREY)
    elif form == "npz":
        np.savez_compressed(path, X=GREY)
    else:
        getattr(table, f"to_{form}")(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read(path, data.draw(st.sampled_from([None, LENET, FOUR, per_column("a", "b")])))
    except (BadInput, UnreadableFile) as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert len(found) > 0


def test_names_from_a_file_are_text_in_the_page(tmp_path: Path) -> None:
    found = read(csv(tmp_path, "<script>,b\n1,2\n3,4\n"), per_column("b"), target=None)
    page = found._repr_html_()
    assert "&lt;script&gt;" in page and "<script>" not in page
