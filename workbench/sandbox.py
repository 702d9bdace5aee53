"""Run a function in a worker process, so that nothing it does can take the caller down.

A crash, a hang, a full memory or an exception over there is one `WorkbenchError` sentence here. The worker is a fresh
interpreter: it inherits no locks, threads or TensorFlow, and never imports the caller's ``__main__``. It and every
process it started are gone when `run` returns; should the caller be killed meanwhile, the worker goes with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import IO, Any, TypeVar

from .errors import WorkbenchError

Result = TypeVar("Result")

_TICK = 0.05
"""Seconds between looks at the clock, the memory and the cancel event. A gigabyte fills in about a third of one."""

_PR_SET_PDEATHSIG = 1
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from workbench.sandbox import _work
_work(int(sys.argv[1]))
"""


class WorkerFailed(WorkbenchError):
    """The worker gave no result: it raised, crashed, or went past a limit. Its traceback, if any, is a note."""


class Cancelled(WorkbenchError):
    """The caller's cancel event was set."""


def run(
    function: Callable[..., Result],
    *args: Any,
    timeout: float | None = None,
    memory_mib: float | None = None,
    progress: Callable[[Any], object] | None = None,
    cancel: threading.Event | None = None,
) -> Result:
    """Call ``function(*args)`` in a worker process and return its result.

    Args:
        function: importable by name: defined in a module, not in a notebook cell or inside another function.
        args: anything that can be pickled.
        timeout: seconds of wall clock, the worker's start included.
        memory_mib: MiB of resident memory, over the worker and its children. Resident, since TensorFlow and ONNX
            Runtime reserve many times the address space that they use.
        progress: called in this thread with every message of the worker. If given, the function gets a keyword
            argument ``progress`` to send them with.
        cancel: set it from another thread to stop the worker within `_TICK`.

    Raises:
        WorkerFailed: it raised, crashed, ran out of time or memory, or returned something that cannot be pickled.
        Cancelled: `cancel` was set.
        WorkbenchError: one that the function itself raised comes through with its type.
    """
    name = _name(function)
    try:
        if getattr(function, "__module__", None) == "__main__":
            raise pickle.PicklingError("it is defined in a notebook cell or script, not in a module")
        task = pickle.dumps((function, args, progress is not None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise WorkerFailed(f"{name} cannot be sent to a worker process: {_first_line(error)}.") from error
    deadline = None if timeout is None else time.monotonic() + timeout
    with tempfile.TemporaryFile() as output:
        worker, connection = _start(output)
        messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_converse, args=(connection, task, messages), daemon=True).start()
        look = 0.0
        try:
            while True:
                # Between messages, too: a chatty worker is not an obedient one.
                now = time.monotonic()
                if cancel is not None and cancel.is_set():
                    raise Cancelled(f"{name} was cancelled.")
                if deadline is not None and now > deadline:
                    raise WorkerFailed(f"{name} took more than the {timeout:g} seconds it was given and was stopped.")
                if memory_mib is None or now < look:
                    pass
                elif (used := _resident_mib(worker.pid)) > memory_mib:
                    raise WorkerFailed(
                        f"{name} used {used:,.0f} MiB of memory, more than the {memory_mib:,.0f} MiB it was given, and "
                        "was stopped; give it more, or a smaller model or batch."
                    )
                else:
                    look = now + _TICK
                with suppress(queue.Empty):
                    kind, value = messages.get(timeout=_TICK)
                    if kind == "progress" and progress is not None:
                        progress(value)
                    elif kind == "result":
                        return value
                    elif kind == "error":
                        raise value
                    elif kind == "end":
                        raise WorkerFailed(_obituary(name, worker.wait(), output))
        finally:
            # Also on KeyboardInterrupt, and where `progress` raised.
            _end(worker)


def _start(output: IO[bytes]) -> tuple[subprocess.Popen[bytes], Connection]:
    """A worker waiting for its task. What it prints goes to `output`: standard output may be our caller's data."""
    ours, theirs = Pipe()
    path = json.dumps([str(entry) for entry in sys.path])
    with theirs:
        worker = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", _START, str(theirs.fileno()), path],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[theirs.fileno()],
            # A group of its own: Ctrl-C in a terminal is ours to handle, and its children end with it.
            start_new_session=True,
        )
    return worker, ours


def _converse(connection: Connection, task: bytes, messages: queue.SimpleQueue[tuple[str, Any]]) -> None:
    """Send the task and pass on what comes back. A thread of its own: a hung worker blocks this, not its time limit."""
    with connection:
        try:
            connection.send_bytes(task)
            while True:
                answer = connection.recv_bytes()
                try:
                    message = pickle.loads(answer)
                except Exception as error:
                    # A class that pickles there and cannot be built here.
                    message = "error", WorkerFailed(f"The worker's answer cannot be read: {_first_line(error)}.")
                messages.put(message)
        except (EOFError, OSError):
            messages.put(("end", None))


def _resident_mib(pid: int) -> float:
    import psutil

    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += one.memory_info().rss
    return total / 2**20


def _end(worker: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _obituary(name: str, code: int, output: IO[bytes]) -> str:
    """Why a worker ended without a result."""
    if code >= 0:
        return f"{name} ended its process with exit code {code} instead of returning a result."
    if code == -signal.SIGKILL:
        return f"{name} was killed by the system, most likely because memory ran out."
    output.seek(0)
    said = [line for line in output.read().decode(errors="replace").splitlines() if line.startswith("Fatal")]
    reason = said[-1].removeprefix("Fatal Python error: ") if said else signal.strsignal(-code) or str(-code)
    return f"{name} crashed its process ({reason}); the file it worked on may be damaged or hit a bug in the library."


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


# --- the worker's side ------------------------------------------------------------------------------------------


def _work(descriptor: int) -> None:
    """Run one task and end."""
    if sys.platform == "linux":
        # When the thread that started us ends, which is when its process dies: `run` waits for us. This works even
        # while we are stuck in C code that holds Python's lock; `_die_with` does the rest elsewhere.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    connection = Connection(descriptor)
    task = connection.recv_bytes()
    threading.Thread(target=_die_with, args=(connection,), daemon=True).start()
    lock = threading.Lock()

    def send(kind: str, value: Any) -> None:
        data = pickle.dumps((kind, value), pickle.HIGHEST_PROTOCOL)
        with lock:
            connection.send_bytes(data)

    name = "The task"
    try:
        function, args, wants_progress = pickle.loads(task)
        name = _name(function)
        del task
        result = function(*args, **({"progress": lambda message: send("progress", message)} if wants_progress else {}))
        try:
            send("result", result)
        except Exception as error:
            kind = type(result).__qualname__
            raise WorkerFailed(f"{name} returned a {kind}, which cannot be sent back: {_first_line(error)}.") from None
    except BaseException as error:
        _send_error(send, name, error)
    # Not the interpreter's own end: unloading TensorFlow takes long and may crash after the work is done.
    os._exit(0)


def _send_error(send: Callable[[str, Any], None], name: str, error: BaseException) -> None:
    what = f"{type(error).__name__}: {_first_line(error)}" if str(error).strip() else type(error).__name__
    plain = WorkerFailed(f"{name} failed with {what}.")
    plain.add_note("In the worker process:\n" + "".join(traceback.format_exception(error)))
    candidate = error if isinstance(error, WorkbenchError) else plain
    try:
        # An exception class may pickle and not unpickle.
        pickle.loads(pickle.dumps(candidate))
    except Exception:
        candidate = plain
    send("error", candidate)


def _die_with(connection: Connection) -> None:
    """The caller closes its end of the pipe by ending, however it ends."""
    with suppress(EOFError, OSError):
        connection.recv_bytes()
    os.killpg(0, signal.SIGKILL)
