"""How a result gets its place: whole or not at all, over another file only when asked, and never over what it was made
from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from .errors import BadInput, WorkbenchError
from .files.header import read_header

_spared: ContextVar[tuple[object, ...]] = ContextVar("spared", default=())


@contextmanager
def sparing(inputs: Iterable[object]) -> Iterator[None]:
    """Within it, no result takes the place of these inputs either: for what is known outside the call that writes."""
    token = _spared.set((*_spared.get(), *inputs))
    try:
        yield
    finally:
        _spared.reset(token)


def refuse(target: Path, overwrite: bool, inputs: Iterable[object]) -> None:
    """Before any work is done for a result, and again before it is written.

    Args:
        inputs: what it is made from: the paths among them, with all files that belong to a model there, are spared.

    Raises:
        BadInput: the target is one of these files, under whatever name.
        WorkbenchError: it exists and `overwrite` is not set.
    """
    if not os.path.exists(target):  # no, too, of a name that is too long: who writes says so
        return
    for given in (*inputs, *_spared.get()):
        if isinstance(given, str | os.PathLike) and os.path.exists(given):
            for file in _files_of(Path(given)):
                if _same(target, file):
                    what = "the source itself" if file == Path(given) else f"a part of {given}"
                    raise BadInput(f"{target} is {what}, which is never changed; give another output.")
    if not overwrite:
        raise WorkbenchError(
            f"{target} exists already; give another output, or overwrite it: overwrite=True (--force)."
        )


def make_folder(folder: Path) -> None:
    """Make a folder to write into, where it is missing.

    Raises:
        BadInput: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"The folder {folder} cannot be made: {reason}.") from error


def write_text(page: str, path: str | os.PathLike[str], *, overwrite: bool = False, inputs: Iterable[object]) -> Path:
    """Write a text to a file, as `write_bytes` does."""
    return write_bytes(page.encode("utf-8", "replace"), path, overwrite=overwrite, inputs=inputs)


def write_bytes(
    content: bytes, path: str | os.PathLike[str], *, overwrite: bool = False, inputs: Iterable[object]
) -> Path:
    """Write a file; it appears whole or not at all. Arguments and errors as of `refuse`.

    Raises:
        WorkbenchError: it cannot be written, as well.
    """
    target = Path(path)
    refuse(target, overwrite, inputs)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
        part.replace(target)
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):  # there is none, if its name was too long
            part.unlink()
        raise WorkbenchError(f"{target} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    return target


def _files_of(path: Path) -> Iterator[Path]:
    """What must stay for a model to stay as it is: the file, a folder with all in it, data files that are named."""
    yield path
    if path.name in ("saved_model.pb", "saved_model.pbtxt"):
        yield path.parent
    if path.is_file():
        with suppress(WorkbenchError):  # no ONNX file, or a damaged one
            yield from (path.parent / name for name in read_header(path).external_data)


def _same(target: Path, file: Path) -> bool:
    """Whether who writes `target` changes `file`: the same, under this name or another, or a file in that folder."""
    with suppress(OSError, ValueError):  # gone, or a name that no file has
        return os.path.samefile(target, file) or (file.is_dir() and file.resolve() in target.resolve().parents)
    return False
