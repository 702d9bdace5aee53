"""A person's own file as rows for a model: what fits is taken, what was changed is said, what cannot fit is explained.

Tables (.csv, .parquet), arrays (.npy, .npz) and pictures (.png, .jpg, or a folder of them), told apart by their
content. Nothing in them is run: no pickles, no code, and what would fill the memory is refused before it is unpacked.
"""

from __future__ import annotations

import csv
import io
import math
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import pictures
from .agreement import rows_of
from .engines.inputs import cast, check_shape, lacking, left_out
from .engines.values import CONTAINERS, dtype_of, sort_of
from .errors import BadInput, UnreadableFile
from .files.header import ValueInfo
from .markup import render
from .words import counted, first_line

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 2 << 30
"""Of a file, and of what it unpacks to."""

MOST_COLUMNS = 100_000

MISSING = {"na", "n/a", "nan", "null", "none", "?", "-"}
"""Words that stand for a missing number; an empty cell always does."""

NO_TEXT = {
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
}  # fmt: skip
"""What stands for missing text in a CSV file: as pandas reads it, which the model's own data were read by."""

SUFFIXES = (".csv", ".tsv", ".parquet", ".npy", ".npz", ".png", ".jpg", ".jpeg")
"""That rows usually have; what a file holds is told by its content alone."""

TARGET_NAMES = {
    "target", "targets", "label", "labels", "class", "species", "y", "outcome", "answer", "digit", "medv", "price",
}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """What a file holds, as a model takes it.

    Attributes:
        inputs: for a model with one input its array, for one with several {input name: array}, of the model's shape
            and dtype. Where no inputs were given: the file's own array; {name: array} of a table whose columns differ
            in dtype, or of a .npz file.
        targets: the right answer of each row, or None.
        names: of a table's columns, in the order of `inputs`; empty for arrays, pictures, tables without names.
        notes: what was changed, left out or assumed, and what looks odd: sentences for the person.
        source: the file or folder.
        files: the file of each row, for pictures.
    """

    inputs: np.ndarray | dict[str, np.ndarray]
    targets: np.ndarray | None
    names: tuple[str, ...]
    notes: tuple[str, ...]
    source: str
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return rows_of(self.inputs if isinstance(self.inputs, dict) else {"": self.inputs})

    @property
    def frame(self) -> pd.DataFrame | None:
        """The rows as a table with the columns' names; None where they have none."""
        import pandas as pd

        if not self.names:
            return None
        return pd.DataFrame(self.inputs, columns=None if isinstance(self.inputs, dict) else list(self.names))

    def _repr_html_(self) -> str:
        return render("rows", source=self.source, count=len(self), answers=self.targets is not None, notes=self.notes)


@dataclass
class _Draft:
    """A file on its way to rows: its arrays by name, a single one without a name under ``""``."""

    arrays: dict[str, np.ndarray]
    targets: np.ndarray | None = None
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def read(
    path: str | os.PathLike[str],
    inputs: tuple[ValueInfo, ...] | None = None,
    *,
    target: str | int | None = None,
    columns: Sequence[str] = (),
    scale: float | None = None,
    invert: bool = False,
) -> Rows:
    """Rows from a file: .csv (with a header line or not), .parquet, .npy, .npz, .png, .jpg, or a folder of pictures,
    whose subfolders, if it has any, are the right answers.

    With the `inputs` of a model (`engine.inputs`) the rows come in its shape and dtype. What can be mended without
    doubt is, with a note: the order of columns, of axes, a missing batch axis; pictures are turned upright, resized,
    made grey. The scale of numbers cannot be known from a model, so a note says what was found.

    Args:
        target: the right answers, left out of the inputs: a column's name or number (from 0, -1 is the last), for
            .npz an array's name. Where the model takes one column less, the one called as answers are
            (`TARGET_NAMES`) is taken.
        columns: names of the columns to take, in the model's order, for a model with one input for all of them.
        scale: what to multiply all numbers by; 1/255 brings grey values to 0 to 1.
        invert: make light what is dark in pictures: MNIST's digits are white on black.

    Raises:
        BadInput: the rows do not fit; one sentence says what was expected, what was found, and what to do.
        UnreadableFile: no such file, an empty or damaged one, of another type, or too large.
    """
    source, notes = Path(path), list[str]()
    kind = content(source)
    infos = tuple(inputs or ())
    if odd := next((info for info in infos if info.dtype in CONTAINERS), None):
        raise BadInput(
            f"Input {odd.name!r} takes a {odd.sort}, which no file of rows holds: give {{name: value}} in Python."
        )
    try:
        if kind == "pictures":
            draft = _from_pictures(source, infos, target, invert, notes)
        elif kind in ("csv", "parquet"):
            frame = _csv(source, notes) if kind == "csv" else _parquet(source, notes)
            draft = _from_table(frame, infos, target, columns, NO_TEXT if kind == "csv" else set(), notes)
        else:
            draft = _from_arrays(load_arrays(source), infos, target, notes)
        arrays = draft.arrays
        if any(array.ndim and not len(array) for array in arrays.values()):
            raise BadInput("There are no rows in it.")
        if infos and len(gone := lacking(arrays, infos)):
            arrays = _without(gone, arrays, draft, notes)
        if scale is not None:
            arrays = {n: a if a.dtype.kind in "OUST" else a * float(scale) for n, a in arrays.items()}
        if infos:
            arrays = {info.name: _fit(arrays[info.name], info, scale, notes) for info in infos}
        rows, shape = rows_of(arrays), None if draft.targets is None else draft.targets.shape
        if infos and shape is not None and shape[:1] != (rows,):
            raise BadInput(f"There are {rows:,} rows, but right answers of shape {shape}: give one for each row.")
    except BadInput as error:
        raise BadInput(f"{source.name}: {error}") from None
    single = len(infos) == 1 or "" in arrays
    values = next(iter(arrays.values())) if single else arrays
    return Rows(values, draft.targets, draft.names, tuple(notes), str(source), draft.files)


def _without(gone: np.ndarray, arrays: dict[str, np.ndarray], draft: _Draft, notes: list[str]) -> dict[str, np.ndarray]:
    """The arrays, and the draft's answers, without the rows of these numbers."""
    rows = rows_of(arrays)
    if len(gone) == rows:
        raise BadInput("In every row text is missing that the model must have: fill it in.")
    notes.append(left_out(len(gone)))
    kept = np.setdiff1d(np.arange(rows), gone)
    if draft.targets is not None and len(draft.targets) == rows:
        draft.targets = draft.targets[kept]
    return {name: array[kept] if array.shape[:1] == (rows,) else array for name, array in arrays.items()}


def row_files(folder: str | os.PathLike[str]) -> list[str]:
    """Paths of a folder's files that are called as rows are (`SUFFIXES`), by name; none of a folder that cannot be
    read."""
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.name.lower().endswith(SUFFIXES))
    except OSError:
        return []


def row_shape(info: ValueInfo) -> tuple[int | str | None, ...]:
    """The shape of one row; without the axis "steps", as spiking networks name time: they hold a row over it."""
    row = (info.shape or ())[1:]
    return row[1:] if len(row) == 2 and row[0] == "steps" else row


def content(path: Path) -> str:
    """``csv``, ``parquet``, ``npy``, ``npz`` or ``pictures``, by the first bytes.

    Raises:
        UnreadableFile: it is none of these.
    """
    if path.is_dir():
        return "pictures"
    if not path.is_file():
        raise UnreadableFile(f"{path} cannot be read as rows: there is no such file.")
    if path.stat().st_size > MOST_BYTES:
        raise UnreadableFile(f"{path} is larger than {MOST_BYTES >> 30} GiB; give a part of it.")
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise UnreadableFile(f"{path} is empty.")
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if path.suffix.lower() not in (".csv", ".tsv", ".txt", ".data", "") or (
        b"\0" in head and not head.startswith(_UTF16)
    ):
        raise UnreadableFile(
            f"{path} holds no rows that can be read: neither a table (.csv, .parquet), nor arrays (.npy, .npz), nor a "
            "picture (.png, .jpg)."
        )
    return "csv"


_MAGIC = {
    b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"PK\x05\x06": "npz", b"PAR1": "parquet",
    b"\x89PNG": "pictures", b"\xff\xd8\xff": "pictures",
}  # fmt: skip
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


# --- tables ------------------------------------------------------------------------------------------------------


def _csv(path: Path, notes: list[str]) -> pd.DataFrame:
    """A table of text; its columns are named by strings where it has a header line, else by numbers."""
    with path.open("rb") as file:
        utf16 = file.read(2) in _UTF16
    try:
        return _parsed(path, "utf-16" if utf16 else "utf-8-sig", notes)
    except UnicodeDecodeError:
        frame = _parsed(path, "latin-1", notes)
        notes.append("The text is not UTF-8 and was read as Latin-1.")
        return frame


def _parsed(path: Path, encoding: str, notes: list[str]) -> pd.DataFrame:
    import pandas as pd

    with path.open(encoding=encoding, newline="") as text:
        start = text.read(1 << 24)
        text.seek(0)
        separator, cells = _separator(start)
        if len(cells) > MOST_COLUMNS:
            raise BadInput(f"Its first line has {len(cells):,} columns; {MOST_COLUMNS:,} are taken at most.")
        counted = [str(number) for number in range(len(cells))]
        headed = not any(map(_is_number, cells)) or cells in (counted, ["", *counted[:-1]])
        sample = start[: 1 << 16]
        try:
            with warnings.catch_warnings():
                # Rows longer than the header: pandas would cut them.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(
                    text, sep=separator, decimal="," if separator == ";" and "." not in sample else ".",
                    header=0 if headed else None, index_col=False, keep_default_na=False, na_values=[""],
                    low_memory=False, skipinitialspace=True,
                )  # fmt: skip
        except UnicodeDecodeError:
            raise
        except (ValueError, OverflowError, MemoryError, pd.errors.ParserWarning) as error:
            reason = first_line(error).removeprefix("Error tokenizing data. ").removeprefix("C error: ")
            if isinstance(error, pd.errors.ParserWarning):
                reason = "its rows hold more values than its first line"
            raise UnreadableFile(f"{path} cannot be read as a table: {reason}.") from None
    if headed:
        if not cells[0].strip() and len(frame) and list(frame.iloc[:, 0]) == list(range(len(frame))):
            frame = frame.iloc[:, 1:]
            notes.append("The first column has no name and counts the rows, so it was left out.")
        frame.columns = frame.columns.astype(str).str.strip()
    else:
        notes.append("The first line holds numbers, so it was taken as a row and the columns have no names.")
    for place, dtype in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            column = frame.iloc[:, place]
            known = column[~column.astype(str).str.strip().str.lower().isin(MISSING)]
            numbers = pd.to_numeric(known, errors="coerce")
            if not numbers.isna()[known.notna()].any():
                frame.isetitem(place, numbers.reindex(frame.index))
    return frame


def _separator(start: str) -> tuple[str, list[str]]:
    """What stands between the cells, and the first line's cells. Commas come last: they may be decimal ones."""
    for mark in "\t;|,":
        lines = csv.reader(io.StringIO(start, newline=""), delimiter=mark)
        try:
            first, *second = islice(filter(None, lines), 2)
        except (ValueError, csv.Error):  # no line, or a cell of more than 128 KiB
            continue
        if len(first) > 1 and all(len(cells) == len(first) for cells in second):
            return mark, first
    line = next(filter(str.strip, start.splitlines()), "")
    if len(line.split()) > 1 and all(map(_is_number, line.split())):
        return r"\s+", line.split()  # as NumPy's savetxt writes
    return ",", next(csv.reader([line]), []) or [""]


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return text.strip().lower() not in MISSING


def _parquet(path: Path, notes: list[str]) -> pd.DataFrame:
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as handle, pyarrow.parquet.ParquetFile(handle) as file:
            about = file.metadata
            # A column of one value takes a few bytes in the file, however many rows.
            unpacked = sum(about.row_group(index).total_byte_size for index in range(about.num_row_groups))
            if max(unpacked, 8 * about.num_rows * about.num_columns) > MOST_BYTES or about.num_columns > MOST_COLUMNS:
                raise UnreadableFile(
                    f"{path} unpacks to {about.num_rows:,} rows of {about.num_columns:,} columns, more than "
                    f"{MOST_BYTES >> 30} GiB; give a part of it."
                )
            if nested := [column.name for column in file.schema_arrow if pyarrow.types.is_nested(column.type)]:
                raise BadInput(f"Column {nested[0]!r} holds lists or records, and a row takes one value for a column.")
            # Metadata of pandas is left alone: it may name types to build.
            frame = file.read().to_pandas(ignore_metadata=True)
    except BadInput:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, MemoryError, NotImplementedError) as error:
        raise UnreadableFile(f"{path} cannot be read as a Parquet table: {first_line(error)}.") from None
    if indices := [name for name in frame.columns if str(name).startswith("__index_level_")]:
        frame = frame.drop(columns=indices)
        notes.append("The stored index of the table was left out.")
    frame.columns = frame.columns.astype(str)
    return frame


def _from_table(
    frame: pd.DataFrame,
    infos: tuple[ValueInfo, ...],
    target: str | int | None,
    columns: Sequence[str],
    no_text: set[str],
    notes: list[str],
) -> _Draft:
    if not len(frame):
        raise BadInput("There are no rows in it.")
    if frame.columns.has_duplicates:
        raise BadInput(f"Two columns are named {frame.columns[frame.columns.duplicated()][0]!r}; rename one.")
    own = [info.name for info in infos]
    if infos and not columns:
        # One input takes all columns, unless it is a single number and one of them has its name.
        alone = len(infos) == 1 and not (own[0] in frame.columns and row_shape(infos[0]) in ((), (1,)))
        columns = () if alone else own
    width = len(columns) or _width(infos)
    answers = [name for name in frame.columns if str(name).lower() in TARGET_NAMES and name not in columns]
    if target is None and len(infos) < 2 and width == frame.shape[1] - 1 > 0 and len(answers) == 1:
        (target,) = answers
        notes.append(f"Column {target!r} was taken as the right answers: the model takes {width} columns.")
    targets = None
    if target is not None:
        name = _column(frame, target)
        targets, frame = _answers(frame[name]), frame.drop(columns=name)
        if frame.empty:
            raise BadInput("There are no columns in it beside the right answers.")
    if columns:
        frame = _in_order(frame, list(columns), notes)
    elif infos and infos[0].shape and width not in (0, frame.shape[1]):
        raise _wrong_width(list(frame.columns), width)
    names = tuple(map(str, frame.columns))
    series = [frame[name].mask(frame[name].isin(no_text)) for name in frame.columns]
    if not infos:
        arrays = [one.to_numpy() for one in series]
        if len({array.dtype for array in arrays}) > 1 or arrays[0].dtype.kind not in "biuf":
            return _Draft(dict(zip(names, arrays, strict=True)), targets, names)
    else:
        dtypes = [info.dtype for info in infos] if len(infos) > 1 else [infos[0].dtype] * len(series)
        arrays = [_values(one, dtype, notes) for one, dtype in zip(series, dtypes, strict=True)]
    gone = frame.select_dtypes("number").isna()
    if total := int(gone.to_numpy().sum()):
        name = gone.columns[gone.any()][0]
        row = int(gone[name].to_numpy().argmax()) + 1
        notes.append(
            f"{total:,} values are missing (first: column {str(name)!r}, row {row}); the model gets NaN there, and few "
            "models can tell an answer from it."
        )
    if len(infos) < 2:
        own, arrays = own or [""], [np.column_stack(arrays)]
    return _Draft(dict(zip(own, arrays, strict=True)), targets, names if _named(frame.columns) else ())


def _width(infos: tuple[ValueInfo, ...]) -> int:
    """Numbers in a row of a model's first input; 0 where any will do."""
    row = row_shape(infos[0]) if infos else (None,)
    return math.prod(dim if isinstance(dim, int) else 0 for dim in row)


def _named(columns: Iterable[Any]) -> bool:
    """Whether a table has a header, and no numbers for names."""
    return all(isinstance(name, str) for name in columns)


def _column(frame: pd.DataFrame, target: str | int) -> Any:
    """The name of the column a person means by a name or number, which may be typed on a command line."""
    names = list(frame.columns)
    if isinstance(target, str) and target in names:
        return target
    try:
        return names[int(target)]
    except (ValueError, IndexError):
        listed = _listed(names) if _named(names) else f"0 to {len(names) - 1}, without names"
        raise BadInput(f"There is no column {target!r} for the right answers; the columns are {listed}.") from None


def _answers(column: pd.Series) -> np.ndarray:
    """Right answers: numbers or text."""
    import pandas as pd

    if missing := int(column.isna().sum()):
        raise BadInput(f"{missing:,} of the right answers in column {column.name!r} are missing; leave those rows out.")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return np.array([str(value) for value in column])
    return column.to_numpy()


def _in_order(frame: pd.DataFrame, wanted: list[str], notes: list[str]) -> pd.DataFrame:
    """The columns a model names, in its order."""
    have = list(frame.columns)
    if not set(wanted) & set(have) and len(wanted) <= len(have):
        if len(wanted) < len(have):
            raise _wrong_width(have, len(wanted))
        if _named(have):
            notes.append(
                f"The columns are not named as the model's ({_listed(wanted)}), so they were taken in their order."
            )
        return frame
    if missing := [name for name in wanted if name not in have]:
        here = _listed(have) if _named(have) else f"{len(have)} without names"
        raise BadInput(f"The model takes a column {missing[0]!r}, and there is none: the columns here are {here}.")
    if [name for name in have if name in wanted] != wanted:
        notes.append(f"The columns were put into the model's order: {_listed(wanted)}.")
    if extra := [name for name in have if name not in wanted]:
        answers = next((name for name in extra if str(name).lower() in TARGET_NAMES), None)
        hint = "" if answers is None else f" (if {answers!r} holds the right answers, pass target={answers!r})"
        notes.append(f"Left out, for the model takes no such column: {_listed(extra)}{hint}.")
    return frame[wanted]


def _wrong_width(names: Sequence[Any], width: int) -> BadInput:
    """The sentence on too many or too few columns."""
    listed = f": {_listed(names)}" if _named(names) else ""
    says = f"The model takes {width} columns, and there are {len(names)}"
    if len(names) <= width:
        return BadInput(f"{says}{listed}.")
    if len(names) > width + 1:
        return BadInput(f"{says}{listed}; {'choose' if listed else 'keep'} the model's with columns=[…].")
    # Known by its name, or the last.
    likely = next((name for name in reversed(names) if str(name).lower() in TARGET_NAMES), names[-1])
    target, which = (repr(likely), f"column {likely!r}") if listed else ("-1", "the last")
    return BadInput(f"{says}; if {which} holds the right answers, target={target} takes it as these.")


def _values(column: pd.Series, dtype: str, notes: list[str]) -> np.ndarray:
    """A column as numbers, or as text for a model that takes text."""
    import pandas as pd

    label = f"Column {column.name!r}" if isinstance(column.name, str) else f"Column {column.name} (counted from 0)"
    gone = column.isna().to_numpy()
    if dtype == "string":
        if gone.any():
            notes.append(f"{label} is missing in {counted(int(gone.sum()), 'row')}.")
        values = column.astype(object).to_numpy()
        return np.array([v if empty else str(v) for v, empty in zip(values, gone, strict=True)], object)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        numbers = pd.to_numeric(column.astype(object).astype(str), errors="coerce").to_numpy(np.float64)
        if (bad := np.isnan(numbers) & ~gone).any():
            row, kind = int(bad.argmax()), "dates" if column.dtype.kind in "mM" else "text"
            shown = str(column.iloc[row])[:60]
            raise BadInput(f"{label} holds {kind} where the model takes numbers: {shown!r} in row {row + 1}.")
        return numbers
    if sort_of(dtype_of(dtype)) in "biu" and gone.any():
        row = int(gone.argmax()) + 1
        raise BadInput(f"{label} has no value in row {row}, and the model takes {dtype}, which must have one.")
    return column.to_numpy()


# --- arrays ------------------------------------------------------------------------------------------------------


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, or that of an .npy file under ``""``; never pickled ones.

    Raises:
        UnreadableFile: not such a file, damaged, too large, or holding Python objects.
    """
    kind = content(path)
    if kind not in ("npy", "npz"):
        raise UnreadableFile(f"{path} is no .npy or .npz file.")
    try:
        if kind == "npy":
            # A memory map is checked against the file's size before anything is allocated.
            return {"": np.array(np.load(path, mmap_mode="r", allow_pickle=False))}
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MOST_BYTES:
            raise UnreadableFile(f"{path} unpacks to {unpacked / 2**30:.1f} GiB; give a part of it.")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except UnreadableFile:
        raise
    except Exception as error:  # a damaged file makes zipfile, zlib and NumPy raise a dozen kinds
        if "allow_pickle" in str(error) or "Array can't be memory-mapped" in str(error):
            raise UnreadableFile(
                f"{path} holds Python objects, stored as a pickle, which could run code: save plain numbers or text."
            ) from None
        raise UnreadableFile(f"{path} cannot be read as arrays: {first_line(error)}.") from None
    if odd := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise UnreadableFile(f"{path} is no .npz file: {odd[0]!r} in it is no array.")
    if not arrays:
        raise UnreadableFile(f"{path} holds no arrays.")
    return arrays


_PAIRS = (
    ("x_test", "y_test"), ("x", "y"), ("inputs", "targets"), ("images", "labels"), ("data", "target"),
    ("features", "labels"), ("x_train", "y_train"),
)  # fmt: skip
"""Usual names of rows and their right answers in an .npz file."""


def _from_arrays(
    arrays: dict[str, np.ndarray], infos: tuple[ValueInfo, ...], target: str | int | None, notes: list[str]
) -> _Draft:
    import pandas as pd

    own = [info.name for info in infos]
    draft = _Draft(arrays)
    if (values := arrays.get("")) is not None:  # .npy
        if values.ndim == 2 and (target is not None or len(infos) > 1):
            return _from_table(pd.DataFrame(values), infos, target, (), set(), notes)
        if target is not None:
            raise BadInput(f"There is no column {target!r} in an array of shape {values.shape}.")
        if len(infos) > 1:
            raise BadInput(
                f"One array was found, of shape {values.shape}, and the model has {len(infos)} inputs: save them by "
                f"name, np.savez(file, {', '.join(own[:3])}=…)."
            )
        draft.arrays = dict.fromkeys(own or [""], values)
    else:
        if target is not None:
            if target not in arrays:
                raise BadInput(f"There is no array {target!r} in it; there are {_listed(arrays)}.")
            draft.targets = arrays.pop(str(target))
        if infos:
            _choose(draft, own, notes)
    missing = sum(int(np.isnan(array).sum()) for array in draft.arrays.values() if array.dtype.kind == "f")
    if infos and missing:
        notes.append(f"{missing:,} values are missing (NaN), and few models can tell an answer from that.")
    return draft


def _choose(draft: _Draft, names: list[str], notes: list[str]) -> None:
    """From an .npz file's arrays, those of the inputs, and the right answers under their usual names."""
    arrays = draft.arrays
    lower = {name.lower(): name for name in arrays}
    usual = [(lower.get(rows), lower.get(answers)) for rows, answers in _PAIRS]
    if set(names) <= set(arrays):
        taken, partner = names, next((answers for _, answers in usual if answers not in (None, *names)), None)
    elif len(names) > 1:
        missing = next(name for name in names if name not in arrays)
        raise BadInput(f"There is no array {missing!r} for the model's input; it holds {_listed(arrays)}.")
    else:
        only = next(iter(arrays)) if len(arrays) == 1 else None
        rows, partner = next((pair for pair in usual if pair[0] is not None), (only, None))
        if rows is None:
            raise BadInput(f"It holds {_listed(arrays)}; which is for {names[0]!r}? Save it under this name.")
        taken = [rows]
    draft.arrays = {name: arrays[stored] for name, stored in zip(names, taken, strict=True)}
    if draft.targets is None and partner is not None:
        draft.targets = arrays[partner]
        taken = [*taken, partner]
        notes.append(f"{partner!r} was taken as the right answers.")
    if left := [name for name in arrays if name not in taken]:
        notes.append(f"{_listed(taken)} of the file was taken, and {_listed(left)} left out.")


def _from_pictures(
    path: Path, infos: tuple[ValueInfo, ...], target: str | int | None, invert: bool, notes: list[str]
) -> _Draft:
    if target is not None:
        raise BadInput("Pictures have no columns; put those of each class into a folder named after it.")
    if len(infos) > 1:
        listed = _listed(info.name for info in infos)
        raise BadInput(f"The model has {len(infos)} inputs ({listed}), and pictures can be only one.")
    row = row_shape(infos[0]) if infos and infos[0].shape else None
    values, classes, files = pictures.load(path, row, invert, notes)
    return _Draft({infos[0].name if infos else "": values}, classes, files=files)


# --- fitting -----------------------------------------------------------------------------------------------------


def in_shape(array: np.ndarray, info: ValueInfo, *, alone: bool = False) -> tuple[np.ndarray, str]:
    """An array in the shape of a model's input, mended where there is no doubt; and what was done, in words.

    Args:
        alone: it may be a single row, without its batch axis.

    Raises:
        BadInput: it does not fit; says what would mend it.
    """
    row = row_shape(info)
    free = replace(info, shape=(None, *row))
    for rows, one in (array, ""), *([(array[None], "as a single row")] if alone and array.ndim else []):
        for laid, words in _layouts(rows, row):
            if not info.shape or _fits(laid, info) or _fits(laid, free):
                words = words or ("the array is taken" if one else "")
                return laid, ", ".join(filter(None, (words, one)))
    check_shape(array, info)
    return array, ""


def _layouts(rows: np.ndarray, row: tuple[int | str | None, ...]) -> Iterator[tuple[np.ndarray, str]]:
    """The same rows as they are, with channels moved, with axes of one added or left out, flat or not."""
    yield rows, ""
    rank, own = len(row) + 1, rows.shape[1:]
    if rows.ndim == rank >= 4:
        yield np.moveaxis(rows, -1, 1), "the colour axis was put first, as the model takes it (NHWC to NCHW)"
        yield np.moveaxis(rows, 1, -1), "the colour axis was put last, as the model takes it (NCHW to NHWC)"
    same = [dim for dim in row if dim != 1] == [dim for dim in own if dim != 1]
    numbers = math.prod(dim if isinstance(dim, int) else 0 for dim in row)  # 0: any
    if (same or 1 in (len(row), len(own))) and math.prod(own) == numbers > 0:
        shape = tuple(dim for dim in row if isinstance(dim, int))
        yield rows.reshape(-1, *shape), "" if numbers == 1 else f"rows of shape {own} were taken as {shape}"
    for axis in (rows.ndim, 1):
        if rows.ndim + 1 == rank and axis != 1 < rank - 1:
            yield np.expand_dims(rows, axis), f"an axis of one was added to rows of shape {own}"
        if rows.ndim == rank + 1 and rows.shape[axis - (axis > 1)] == 1:
            yield rows.squeeze(axis - (axis > 1)), f"an axis of one was left out of rows of shape {own}"


def _fits(array: np.ndarray, info: ValueInfo) -> bool:
    try:
        check_shape(array, info)
    except BadInput:
        return False
    return True


def _fit(array: np.ndarray, info: ValueInfo, scale: float | None, notes: list[str]) -> np.ndarray:
    """An array in the input's shape and dtype, with notes on what was done, and on its scale."""
    row, batch = row_shape(info), info.shape[0] if info.shape else None
    if array.ndim == 2 and len(row) == 1 and isinstance(row[0], int) and 0 < row[0] != array.shape[1]:
        raise _wrong_width(range(array.shape[1]), row[0])
    array, words = in_shape(array, info, alone=True)
    if words:
        notes.append(f"{words[0].upper()}{words[1:]}.")
    if isinstance(batch, int) and len(array) != batch > 0:
        notes.append(f"The model takes exactly {batch} row(s) at a time, and here are {len(array):,}.")
    result, _ = cast(array, info)
    size = result[0].size if result.ndim > 1 else 0
    # Pictures, also as rows of a table: 784 numbers are 28 by 28.
    picture = size >= 64 and (result.ndim > 2 or math.isqrt(size) ** 2 == size)
    if picture and result.dtype.kind == "f" and scale is None and np.isfinite(result).all():
        low, high = float(result.min()), float(result.max())
        if low >= 0 and 0 < high <= 255:
            wish = "0 to 1 wants scale=1/255" if high > 1 else "0 to 255 wants scale=255"
            notes.append(f"The values run from {low:g} to {high:g}; a model trained on {wish}.")
    return result


def _listed(names: Iterable[Any]) -> str:
    listed = [repr(str(name)) for name in names]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
