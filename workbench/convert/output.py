"""Where the ONNX file goes, and how it gets there: complete or not at all, and never over another file unasked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BadInput, WorkbenchError
from ..publish import refuse
from ..scratch import disk_full, fleeting_folder


def target_of(output: str | os.PathLike[str] | None, source: Path | None, stem: str, overwrite: bool) -> Path:
    """The path to write, checked before any work is done.

    Args:
        output: what the caller asked for; None: ``<stem>.onnx`` beside the source. A folder gets it in there.
        source: the source's path; None for an object in memory, which goes to the current folder.
    """
    try:
        return _checked(output, source, stem, overwrite)
    except (OSError, ValueError) as error:  # a name the system does not take, a folder that may not be entered
        if isinstance(error, BadInput):
            raise
        reason = getattr(error, "strerror", None) or error
        raise WorkbenchError(f"{output or stem + '.onnx'} cannot be written: {reason}.") from error


def _checked(output: str | os.PathLike[str] | None, source: Path | None, stem: str, overwrite: bool) -> Path:
    beside = Path() if source is None else source.parent
    target = beside / f"{stem}.onnx" if output is None else Path(output)
    if target.is_dir():
        target = target / f"{stem}.onnx"
    elif output is not None and os.fspath(output).endswith(os.sep):
        raise WorkbenchError(f"There is no folder {target} to write {stem}.onnx into; make it first.")
    if "\0" in str(target) or (target.exists() and not target.is_file()):
        raise BadInput(f"{str(target)!r} is not a file that can be written; give another output.")
    if not target.parent.is_dir():
        raise WorkbenchError(f"There is no folder {target.parent} to write {target.name} into; make it first.")
    for path in (target, _data(target)):
        if path.exists():  # an error where the name is too long, now and not when it is to be written
            refuse(path, overwrite, [source])
    return target


def _data(target: Path) -> Path:
    return target.with_name(target.name + ".data")


@contextmanager
def no_half_files(target: Path) -> Iterator[Path]:
    """A folder beside the target, gone afterwards: only what was moved out of it stays."""
    try:
        # The dot keeps it out of folder views.
        with fleeting_folder(".workbench-", target.parent.absolute()) as folder:
            yield folder
    except Exception as error:
        if (refused := disk_full(error, target.parent)) is not None:
            raise refused from error
        if not target.parent.is_dir():
            raise WorkbenchError(f"The folder {target.parent} is gone, so {target.name} cannot be written.") from error
        if isinstance(error, OSError):
            raise WorkbenchError(f"{target} cannot be written: {error.strerror or error}.") from error
        raise


def publish(folder: Path, target: Path, overwrite: bool) -> None:
    """Move the finished files to their names; no reader sees an ONNX file without its weights, or with another's."""
    made, data = folder / target.name, _data(folder / target.name)
    for path in filter(Path.exists, (data, made)):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    old_data = _data(target).exists()
    if overwrite and (data.exists() or old_data):
        # Old and new files share the data's name, so the old model must go before either data file does.
        target.unlink(missing_ok=True)
        if not data.exists():
            _data(target).unlink(missing_ok=True)
    if data.exists():
        _move(data, _data(target), overwrite)
    try:
        _move(made, target, overwrite)
    except BaseException:
        if data.exists() or not old_data:
            with suppress(OSError):
                _data(target).unlink(missing_ok=True)
        raise


def _move(made: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        made.replace(target)
        return
    try:
        # Unlike a rename, a link never replaces a file that came up meanwhile.
        os.link(made, target)
    except OSError:  # a file came up, or the file system has no links
        refuse(target, False, ())
        made.replace(target)
