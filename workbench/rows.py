"""A person's own file as rows for a model: what fits is taken, what was changed is said, what cannot fit is explained.

Tables (.csv, .parquet), arrays (.npy, .npz) and pictures (.png, .jpg, or a folder of them), told apart by their
content. Nothing in them is run: no pickles, no code, and what would fill the memory is refused before it is unpacked.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .engines.inputs import cast, check_shape
from .errors import BadInput, UnreadableFile
from .files.header import ValueInfo
from .markup import render

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MOST_BYTES = 2 << 30
"""Of a file, and of what it unpacks to."""

MOST_COLUMNS = 100_000

MISSING = {"na", "n/a", "nan", "null", "none", "?", "-"}
"""Words that stand for a missing number; an empty cell always does."""

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
        return _count(self.inputs.values() if isinstance(self.inputs, dict) else [self.inputs])

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
class _Found:
    """A file on its way to rows."""

    values: Any
    targets: np.ndarray | None = None
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


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
    source = Path(path)
    kind = content(source)
    infos = None if inputs is None else tuple(inputs)
    try:
        if kind == "pictures":
            from .pictures import load

            if target is not None:
                raise BadInput("Pictures have no columns; put those of each class into a folder named after it.")
            found = _Found(None)
            found.values, found.targets, found.files = load(source, _picture_row(infos), invert, found.notes)
        elif kind in ("csv", "parquet"):
            frame, notes = _csv(source) if kind == "csv" else _parquet(source)
            found = _from_table(frame, infos, target, columns, notes)
        else:
            found = _from_arrays(load_arrays(source), infos, target)
        values = found.values
        arrays = values if isinstance(values, dict) else {"" if not infos else infos[0].name: values}
        if any(array.ndim and not len(array) for array in arrays.values()):
            raise BadInput("There are no rows in it.")
        if scale is not None:
            arrays = {n: a if a.dtype.kind in "OUST" else a * float(scale) for n, a in arrays.items()}
        if infos is not None:
            arrays = {info.name: _fit(arrays[info.name], info, scale, found.notes) for info in infos}
        rows, shape = _count(arrays.values()), None if found.targets is None else found.targets.shape
        if infos is not None and shape is not None and shape[:1] != (rows,):
            raise BadInput(f"There are {rows:,} rows, but right answers of shape {shape}: give one for each row.")
    except BadInput as error:
        raise BadInput(f"{source.name}: {error}") from None
    values = arrays if isinstance(values, dict) else next(iter(arrays.values()))
    return Rows(values, found.targets, found.names, tuple(found.notes), str(source), found.files)


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


def _csv(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """A table of text; its columns are named by strings where it has a header line, else by numbers."""
    try:
        with path.open("rb") as file:
            utf16 = file.read(2) in _UTF16
        return _parsed_csv(path, "utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        frame, notes = _parsed_csv(path, "latin-1")
        return frame, [*notes, "The text is not UTF-8 and was read as Latin-1."]


def _parsed_csv(path: Path, encoding: str) -> tuple[pd.DataFrame, list[str]]:
    import warnings

    import pandas as pd

    notes = []
    with path.open(encoding=encoding, newline="") as text:
        separator, cells = _separator(text)
        if len(cells) > MOST_COLUMNS:
            raise BadInput(f"Its first line has {len(cells):,} columns; {MOST_COLUMNS:,} are taken at most.")
        counted = [str(number) for number in range(len(cells))]
        headed = not any(map(_is_number, cells)) or cells == counted or ["", *counted[:-1]] == cells
        text.seek(0)
        decimal = "," if separator == ";" and "." not in (sample := text.read(1 << 16)) and "," in sample else "."
        text.seek(0)
        try:
            with warnings.catch_warnings():
                # Rows longer than the header: pandas would cut them.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(
                    text, sep=separator, decimal=decimal, header=0 if headed else None, index_col=False,
                    keep_default_na=False, na_values=[""], low_memory=False,
                    skipinitialspace=True,
                )  # fmt: skip
        except UnicodeDecodeError:
            raise
        except (ValueError, OverflowError, MemoryError, pd.errors.ParserWarning) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            reason = reason.removeprefix("Error tokenizing data. ").removeprefix("C error: ")
            if isinstance(error, pd.errors.ParserWarning):
                reason = "its rows hold more values than its first line"
            raise UnreadableFile(f"{path} cannot be read as a table: {reason.rstrip('.')}.") from None
    if headed:
        if not cells[0].strip() and len(frame) and list(frame.iloc[:, 0]) == list(range(len(frame))):
            frame = frame.iloc[:, 1:]
            notes.append("The first column has no name and counts the rows, so it was left out.")
        frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    else:
        notes.append("The first line holds numbers, so it was taken as a row and the columns have no names.")
    for place, dtype in enumerate(frame.dtypes):
        column = frame.iloc[:, place]
        if not pd.api.types.is_numeric_dtype(dtype):
            known = column[~column.astype(str).str.strip().str.lower().isin(MISSING)]
            if not pd.to_numeric(known, errors="coerce").isna()[known.notna()].any():
                frame.isetitem(place, pd.to_numeric(known, errors="coerce").reindex(frame.index))
    return frame, notes


def _separator(text: TextIO) -> tuple[str, list[str]]:
    """What stands between the cells, and the first line's cells. Commas come last: they may be decimal ones."""
    for mark in "\t;|,":
        text.seek(0)
        lines = csv.reader(iter(lambda: text.readline(1 << 24), ""), delimiter=mark)
        try:
            first, *second = islice((cells for cells in lines if cells), 2)
        except (ValueError, csv.Error):  # no line, or a cell of more than 128 KiB
            continue
        if len(first) > 1 and all(len(cells) == len(first) for cells in second):
            return mark, first
    text.seek(0)
    line = next((line for line in iter(lambda: text.readline(1 << 24), "") if line.strip()), "")
    if len(line.split()) > 1 and all(map(_is_number, line.split())):
        return r"\s+", line.split()  # as NumPy's savetxt writes
    return ",", next(csv.reader([line]), []) or [""]


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return text.strip().lower() not in MISSING


def _parquet(path: Path) -> tuple[pd.DataFrame, list[str]]:
    import pyarrow
    import pyarrow.parquet

    notes = []
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
            schema = file.schema_arrow
            if nested := [column.name for column in schema if pyarrow.types.is_nested(column.type)]:
                raise BadInput(f"Column {nested[0]!r} holds lists or records, and a row takes one value for a column.")
            # Metadata of pandas is left alone: it may name types to build.
            frame = file.read().to_pandas(ignore_metadata=True)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, MemoryError, NotImplementedError) as error:
        if isinstance(error, BadInput):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableFile(f"{path} cannot be read as a Parquet table: {reason.rstrip('.')}.") from None
    if indices := [name for name in frame.columns if str(name).startswith("__index_level_")]:
        frame = frame.drop(columns=indices)
        notes.append("The stored index of the table was left out.")
    frame.columns = [str(name) for name in frame.columns]
    return frame, notes


def _from_table(
    frame: pd.DataFrame,
    infos: tuple[ValueInfo, ...] | None,
    target: str | int | None,
    columns: Sequence[str],
    notes: list[str],
) -> _Found:
    import numpy as np

    if not len(frame):
        raise BadInput("There are no rows in it.")
    if frame.columns.has_duplicates:
        raise BadInput(f"Two columns are named {frame.columns[frame.columns.duplicated()][0]!r}; rename one.")
    targets = None
    if target is not None:
        place = _column(frame, target)
        targets = _answers(frame.iloc[:, place])
        frame = frame.drop(columns=frame.columns[place])
        if frame.empty:
            raise BadInput("There are no columns in it beside the right answers.")
    wanted = list(columns)
    if infos and (len(infos) > 1 or (infos[0].name in frame.columns and row_shape(infos[0]) in ((), (1,)))):
        wanted = wanted or _names(infos)
    if wanted:
        frame = _in_order(frame, wanted, notes)
    elif infos:
        row = row_shape(infos[0])
        width = math.prod(dim if isinstance(dim, int) else 0 for dim in row)  # 0: any
        answers = [name for name in frame.columns if str(name).lower() in TARGET_NAMES]
        if target is None and width and width == frame.shape[1] - 1 and len(answers) == 1:
            notes.append(f"Column {answers[0]!r} was taken as the right answers: the model takes {width} columns.")
            targets, frame = _answers(frame[answers[0]]), frame.drop(columns=answers)
        if infos[0].shape and width > 0 and width != frame.shape[1]:
            raise _wrong_width(frame, width)
    names = tuple(map(str, frame.columns)) if isinstance(frame.columns[0], str) else ()
    series = [frame.iloc[:, place] for place in range(frame.shape[1])]
    if infos is None:
        arrays = [one.to_numpy() for one in series]
        if len({array.dtype for array in arrays}) > 1 or arrays[0].dtype.kind not in "biuf":
            named = dict(zip(map(str, frame.columns), arrays, strict=True))
            return _Found(named, targets, tuple(named), notes=notes)
        _note_missing(series, notes)
        return _Found(np.column_stack(arrays), targets, names, notes=notes)
    taken = [_values(one, infos[place if len(infos) > 1 else 0].dtype, notes) for place, one in enumerate(series)]
    _note_missing(series, notes)
    if len(infos) == 1:
        return _Found(np.column_stack(taken), targets, names, notes=notes)
    return _Found({info.name: one for info, one in zip(infos, taken, strict=True)}, targets, names, notes=notes)


def _column(frame: pd.DataFrame, target: str | int) -> int:
    """The place of the column a person means by a name or number."""
    names, count = list(frame.columns), len(frame.columns)
    if target in names and isinstance(target, str):
        return names.index(target)
    if (place := _place(target, count)) is not None:
        return place
    listed = _listed(names) if isinstance(names[0], str) else f"0 to {count - 1}, without names"
    raise BadInput(f"There is no column {target!r} for the right answers; the columns are {listed}.")


def _place(target: str | int, count: int) -> int | None:
    """The place a number names, also one typed on a command line; None where it names none."""
    try:
        return range(count)[int(target)]
    except (ValueError, IndexError):
        return None


def _answers(column: pd.Series) -> np.ndarray:
    """Right answers: numbers or text."""
    import numpy as np
    import pandas as pd

    if missing := int(column.isna().sum()):
        raise BadInput(f"{missing:,} of the right answers in column {column.name!r} are missing; leave those rows out.")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return np.array([str(value) for value in column])
    return column.to_numpy()


def _in_order(frame: pd.DataFrame, wanted: list[str], notes: list[str]) -> pd.DataFrame:
    """The columns a model names, in its order."""
    have = list(frame.columns)
    if not set(wanted) & set(have) and len(wanted) == len(have):
        notes.append(
            f"The columns are not named as the model's ({_listed(wanted)}), so they were taken in their order."
        )
        return frame
    if not set(wanted) & set(have) and len(wanted) < len(have):
        raise _wrong_width(frame, len(wanted))
    if missing := [name for name in wanted if name not in have]:
        here = _listed(have) if isinstance(have[0], str) else f"{len(have)} without names"
        raise BadInput(f"The model takes a column {missing[0]!r}, and there is none: the columns here are {here}.")
    if [name for name in have if name in wanted] != wanted:
        notes.append(f"The columns were put into the model's order: {_listed(wanted)}.")
    if extra := [name for name in have if name not in wanted]:
        answers = next((name for name in extra if str(name).lower() in TARGET_NAMES), None)
        hint = "" if answers is None else f" (if {answers!r} holds the right answers, pass target={answers!r})"
        notes.append(f"Left out, for the model takes no such column: {_listed(extra)}{hint}.")
    return frame[wanted]


def _wrong_width(frame: pd.DataFrame, width: int) -> BadInput:
    """The sentence on too many or too few columns, with the one that looks like the right answers."""
    have = frame.shape[1]
    named = isinstance(frame.columns[0], str)
    says = f"The model takes {width} columns, and there are {have}"
    if have <= width:
        return BadInput(f"{says}{': ' + _listed(frame.columns) if named else ''}.")
    if have > width + 1:
        more = "choose the model's with columns=[…]" if named else "keep the model's"
        return BadInput(f"{says}{': ' + _listed(frame.columns) if named else ''}; {more}.")
    place = _likely_target(frame)
    which = repr(str(frame.columns[place])) if named else {have - 1: "-1"}.get(place, str(place))
    what = f"column {which}" if named else {0: "the first", have - 1: "the last"}.get(place, f"number {place}")
    return BadInput(f"{says}; {what} looks like the right answers, and target={which} takes it as these.")


def _likely_target(frame: pd.DataFrame) -> int:
    """The column most like a class: by its name, the only text, the one with few different whole numbers, the last."""
    import pandas as pd

    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
    ends = [len(columns) - 1, 0, *range(1, len(columns) - 1)]
    text = [i for i, column in enumerate(columns) if not pd.api.types.is_numeric_dtype(column.dtype)]
    few = (i for i in ends[:2] if i not in text and (columns[i] % 1 == 0).all() and columns[i].nunique() <= 20)
    known = (i for i in ends if str(columns[i].name).strip().lower() in TARGET_NAMES)
    return next(known, text[0] if len(text) == 1 else next(few, ends[0]))


def _values(column: pd.Series, dtype: str, notes: list[str]) -> np.ndarray:
    """A column as numbers, or as text for a model that takes text."""
    import numpy as np
    import pandas as pd

    label = f"Column {column.name!r}" if isinstance(column.name, str) else f"Column {column.name} (counted from 0)"
    if dtype == "string":
        if missing := int(column.isna().sum()):
            notes.append(f"{label} has {missing:,} empty cells, given as empty text.")
        return np.array(["" if gone else str(v) for v, gone in zip(column, column.isna(), strict=True)], object)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        text = column.astype(object)
        kind = "dates" if column.dtype.kind in "mM" else "text"
        bad = (pd.to_numeric(text.astype(str), errors="coerce").isna() & text.notna()).to_numpy()
        if bad.any():
            row = int(bad.argmax())
            shown = str(text.iloc[row])[:60]
            raise BadInput(f"{label} holds {kind} where the model takes numbers: {shown!r} in row {row + 1}.")
        return pd.to_numeric(text.astype(str), errors="coerce").to_numpy(np.float64)
    if np.dtype(dtype).kind in "biu" and (gone := column.isna().to_numpy()).any():
        row = int(gone.argmax()) + 1
        raise BadInput(f"{label} has no value in row {row}, and the model takes {dtype}, which must have one.")
    return column.to_numpy()


def _note_missing(columns: Iterable[pd.Series], notes: list[str]) -> None:
    import pandas as pd

    gone = {str(c.name): c.isna().to_numpy() for c in columns if pd.api.types.is_numeric_dtype(c.dtype)}
    gone = {name: mask for name, mask in gone.items() if mask.any()}
    if gone:
        name, mask = next(iter(gone.items()))
        total = sum(int(one.sum()) for one in gone.values())
        notes.append(
            f"{total:,} values are missing (first: column {name!r}, row {int(mask.argmax()) + 1}); the model gets NaN "
            "there, and few models can tell an answer from it."
        )


# --- arrays ------------------------------------------------------------------------------------------------------


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, or that of an .npy file under ``""``; never pickled ones.

    Raises:
        UnreadableFile: not such a file, damaged, too large, or holding Python objects.
    """
    import zipfile

    import numpy as np

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
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableFile(f"{path} cannot be read as arrays: {reason.rstrip('.')}.") from None
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
    arrays: dict[str, np.ndarray], infos: tuple[ValueInfo, ...] | None, target: str | int | None
) -> _Found:
    import numpy as np

    found = _Found(arrays)
    if "" in arrays:  # .npy
        found.values = arrays[""]
        if target is not None:
            place = _place(target, found.values.shape[1]) if found.values.ndim == 2 else None
            if place is None:
                raise BadInput(f"There is no column {target!r} in an array of shape {found.values.shape}.")
            found.targets = found.values[:, place]
            found.values = np.delete(found.values, place, axis=1)
    elif target is not None:
        if target not in arrays:
            raise BadInput(f"There is no array {target!r} in it; there are {_listed(arrays)}.")
        found.targets = arrays[str(target)]
        found.values = {name: array for name, array in arrays.items() if name != target}
    if infos is None:
        return found
    if isinstance(found.values, dict):
        _choose(found, infos)
    elif len(infos) > 1:
        if found.values.ndim != 2 or found.values.shape[1] != len(infos):
            raise BadInput(
                f"One array was found, of shape {found.values.shape}, and the model has {len(infos)} inputs: save "
                f"them by name, np.savez(file, {', '.join(info.name for info in infos[:3])}=…)."
            )
        found.values = {info.name: found.values[:, place] for place, info in enumerate(infos)}
        found.notes.append(f"The columns were taken as the model's inputs in their order: {_listed(_names(infos))}.")
    taken = found.values if isinstance(found.values, dict) else {"": found.values}
    if missing := sum(int(np.isnan(array).sum()) for array in taken.values() if array.dtype.kind == "f"):
        found.notes.append(f"{missing:,} values are missing (NaN), and few models can tell an answer from that.")
    return found


def _choose(found: _Found, infos: tuple[ValueInfo, ...]) -> None:
    """From an .npz file's arrays, those of the inputs, and the right answers under their usual names."""
    arrays: dict[str, np.ndarray] = found.values
    lower = {name.lower(): name for name in arrays}
    names = _names(infos)
    if set(names) <= set(arrays):
        chosen = {name: arrays[name] for name in names}
        answers = next((lower[y] for _, y in _PAIRS if lower.get(y) not in (None, *names)), None)
        taken = names
    elif len(infos) == 1:
        rows, partner = next(((lower[x], lower.get(y)) for x, y in _PAIRS if x in lower), (None, None))
        if rows is None and len(arrays) == 1:
            rows = next(iter(arrays))
        if rows is None:
            raise BadInput(f"It holds {_listed(arrays)}; which is for {names[0]!r}? Save it under this name.")
        chosen, answers, taken = {names[0]: arrays[rows]}, partner, [rows]
    else:
        missing = next(name for name in names if name not in arrays)
        raise BadInput(f"There is no array {missing!r} for the model's input; it holds {_listed(arrays)}.")
    if found.targets is None and answers is not None:
        found.targets = arrays[answers]
        taken = [*taken, answers]
        found.notes.append(f"{answers!r} was taken as the right answers.")
    if left := [name for name in arrays if name not in taken]:
        found.notes.append(f"{_listed(taken)} of the file was taken, and {_listed(left)} left out.")
    found.values = chosen if len(infos) > 1 else next(iter(chosen.values()))


# --- fitting -----------------------------------------------------------------------------------------------------


def _fit(array: np.ndarray, info: ValueInfo, scale: float | None, notes: list[str]) -> np.ndarray:
    """An array in the input's shape and dtype, with notes on what was done, and on its scale."""
    import numpy as np

    array = _shaped(array, info, notes)
    result, _ = cast(array, info)
    size = result[0].size if result.ndim > 1 else 0
    # Pictures, also as rows of a table: 784 numbers are 28 by 28.
    picture = size >= 64 and (result.ndim > 2 or math.isqrt(size) ** 2 == size)
    if picture and result.dtype.kind == "f" and scale is None and np.isfinite(result).all():
        low, high = float(result.min()), float(result.max())
        if low >= 0 and 1 < high <= 255:
            notes.append(f"The values run from {low:g} to {high:g}; a model trained on 0 to 1 wants scale=1/255.")
        elif low >= 0 and 0 < high <= 1:
            notes.append(f"The values run from {low:g} to {high:g}; a model trained on 0 to 255 wants scale=255.")
    return result


def _shaped(array: np.ndarray, info: ValueInfo, notes: list[str]) -> np.ndarray:
    """An array in the input's shape: the batch axis, the order of axes and axes of one mended, the rest refused."""
    import pandas as pd

    if not info.shape or _fits(array, info):
        return array
    batch, row = info.shape[0], row_shape(info)
    free = ValueInfo(info.name, info.dtype, (None, *row))
    numbers = math.prod(dim if isinstance(dim, int) else 0 for dim in row)  # 0: any
    for shape in (array.shape, (1, *array.shape))[array.ndim == 0 :]:
        candidate = array.reshape(shape)
        one = "" if candidate.ndim == array.ndim else ", as a single row"
        orders = ((0, 3, 1, 2), (0, 2, 3, 1)) if candidate.ndim == 4 else ()
        flat = [d for d in row if d != 1] == [d for d in shape[1:] if d != 1] or 1 in (len(row), len(shape[1:]))
        if _fits(candidate, free):
            said = f"The array is taken{one}." if one else ""
        elif order := next((o for o in orders if _fits(candidate.transpose(o), free)), None):
            candidate = candidate.transpose(order)
            to = "first" if order[1] == 3 else "last"
            said = f"The colour axis was put {to}, as the model takes it{one}."
        elif flat and math.prod(shape[1:]) == numbers > 0:
            candidate = candidate.reshape(len(candidate), *map(int, row))  # type: ignore[arg-type]
            said = "" if numbers == 1 else f"Rows of shape {shape[1:]} were taken as {row}{one}."
        else:
            continue
        if said:
            notes.append(said)
        if isinstance(batch, int) and len(candidate) != batch > 0:
            notes.append(f"The model takes exactly {batch} row(s) at a time, and here are {len(candidate):,}.")
        return candidate
    if array.ndim == 2 and len(row) == 1 and isinstance(row[0], int) and array.shape[1] != row[0]:
        raise _wrong_width(pd.DataFrame(array), row[0])
    check_shape(array, info)
    return array


def _fits(array: np.ndarray, info: ValueInfo) -> bool:
    try:
        check_shape(array, info)
    except BadInput:
        return False
    return True


def _picture_row(infos: tuple[ValueInfo, ...] | None) -> tuple[int | str | None, ...] | None:
    if infos is not None and len(infos) != 1:
        raise BadInput(f"The model has {len(infos)} inputs ({_listed(_names(infos))}), and pictures can be only one.")
    return row_shape(infos[0]) if infos and infos[0].shape else None


def _count(arrays: Iterable[np.ndarray]) -> int:
    return next((len(array) for array in arrays if array.ndim), 1)


def _names(infos: tuple[ValueInfo, ...]) -> list[str]:
    return [info.name for info in infos]


def _listed(names: Iterable[Any]) -> str:
    listed = [repr(str(name)) for name in names]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
