"""Models in other forms of ONNX, written as the .onnx file that they stand for: in a worker process, within bounds."""

from __future__ import annotations

import shutil
import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ..errors import UnreadableFile
from ..files.formats import identify
from ..files.header import Header, read_header
from ..files.pickle_walk import Budget, BudgetSpent
from ..files.unpack import unpacked
from ..files.wire import Steps, opened
from ..words import first_line, listed, size
from . import external
from .trust import known_as

RATIO, LEAST = 200, 64 << 20
"""How many times its size a file may unpack to, beside `LEAST` bytes that any may: gzip makes at most 1,032 of one."""

_BLOCK = 1 << 20

_SYNTAX = {"text in ONNX syntax": "onnxtxt", "protobuf text": "textproto", "JSON": "json"}
"""`Format.detail` -> ONNX's own name for the form."""


def as_onnx(path: Path, folder: Path) -> Path:
    """The ONNX file that a text or packed file stands for, written into a folder with its weights; see
    `workbench.files.records.FileFormat.stands_for`.

    Raises:
        UnreadableFile: it is damaged, or unpacks to more than a model of its size has reason to.
        UnsupportedModel: its weights lie outside its own folder.
    """
    target = _taken_out(path, folder)
    if identify(path).detail == "zip":
        return target  # its data lies within
    header = read_header(target)
    external.refuse(path, header)
    for data in external.files(path, header):
        place = folder / data.relative_to(path.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data, place)
    return target


def _taken_out(path: Path, folder: Path) -> Path:
    """The same, without data that lies beside the file."""
    form = identify(path).detail
    target = folder / "model.onnx"
    budget = Budget(0, LEAST + RATIO * path.stat().st_size)
    try:
        if form == "zip":
            return _unzipped(path, folder, budget)
        if form == "gzip":
            with opened(path) as buffer:
                _write(unpacked(buffer, budget), target)
        else:
            target.write_bytes(_parsed(path, _SYNTAX[form]))
    except BudgetSpent:
        most = size(LEAST + RATIO * path.stat().st_size)
        raise UnreadableFile(
            f"{path} unpacks to more than {most}, which no model of its size does: if you know where it comes from, "
            "unpack it yourself."
        ) from None
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UnreadableFile(f"{path} cannot be unpacked: {first_line(error)}; get it again.") from error
    with known_as(target, path):
        read_header(target)
    return target


def light(path: Path) -> bytes:
    """The model that a text or packed file stands for, without its weights."""
    from ..files.light import without_weights
    from ..scratch import fleeting_folder

    with fleeting_folder("workbench-form-") as folder:
        return without_weights(as_onnx(path, folder))


def header(path: Path, steps: int) -> Header:
    """What a text or packed file says of its model, in as many steps."""
    from ..scratch import fleeting_folder

    with fleeting_folder("workbench-form-") as folder:
        return read_header(_taken_out(path, folder), steps=Steps(steps))


def _parsed(path: Path, form: str) -> bytes:
    """A model in one of ONNX's text forms, as its own file."""
    import onnx

    with warnings.catch_warnings(action="ignore"):  # it calls its own syntax experimental
        try:
            model: Any = onnx.load_model_from_string(path.read_bytes(), form)
            return bytes(model.SerializeToString())
        except Exception as error:  # the parsers of three libraries
            said = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
            # ONNX's own says where in the first line, and what in the last one.
            lines = str(said).strip().splitlines() or [type(error).__name__]
            why = listed([lines[0], *lines[-1:]] if len(lines) > 1 else lines)
            raise UnreadableFile(f"{path} cannot be read as {form}: {why}; get it again.") from error


def _unzipped(path: Path, folder: Path, budget: Budget) -> Path:
    """The archive's one model, and of its other members those that the model names as its data."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        inside = next(n for n in names if n.lower().endswith(".onnx") and not n.startswith("__MACOSX/"))
        target = folder / "model.onnx"
        _extract(archive, inside, target, budget)
        for data in read_header(target).external:
            place = str(PurePosixPath(inside).parent / data.location)
            # Where it leads is checked by whoever loads the model; nothing is written outside the folder.
            into = (folder / data.location).resolve()
            if place in names and into.is_relative_to(folder.resolve()) and into != target.resolve():
                into.parent.mkdir(parents=True, exist_ok=True)
                _extract(archive, place, into, budget)
    return target


def _extract(archive: zipfile.ZipFile, name: str, target: Path, budget: Budget) -> None:
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError(f"{name} is packed in a way that is not read here")
    with archive.open(name) as member:
        _write(member, target, budget)


def _write(source: Any, target: Path, budget: Budget | None = None) -> None:
    file: BinaryIO
    with target.open("wb") as file:
        while block := source.read(_BLOCK):
            if budget is not None:
                budget.unpack(len(block))
            file.write(block)
