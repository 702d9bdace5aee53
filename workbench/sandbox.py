"""Run a function in a worker process, so that nothing it does can take the caller down.

A crash, a hang, a full memory or an exception over there is one `WorkbenchError` sentence here. The worker is a fresh
interpreter: it inherits no locks, threads or TensorFlow, and never imports the caller's ``__main__``. It and every
process it started are gone when `run` returns; should the caller be killed meanwhile, the worker goes with it.

With ``warm=True`` a worker that did its task well waits for the next one, so that starting Python and importing
TensorFlow are paid once. One waits at a time: of two tasks at once, the second gets a worker of its own. A `Worker`
belongs to one caller, and keeps a loaded model from task to task.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import math
import os
import pickle
import queue
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, TypeVar, cast

import psutil

from .errors import WorkbenchError
from .words import first_line

Result = TypeVar("Result")

_TICK = 0.05
"""Seconds between looks at the clock, the memory and the cancel event. A gigabyte fills in about a third of one."""

WARM_MIB = 1000
"""MiB of resident memory that a waiting worker may hold; with TensorFlow and both Keras it is about 230."""

IDLE_SECONDS = 600
"""How long a worker waits for another task before it ends."""

MEMORY_MIB = 4000
"""MiB to load or convert a model, beside eight times its size. TensorFlow starts at 600."""

PARSE_SECONDS = 60
"""To read a small file with a C library, which takes milliseconds; a larger one gets a second more for each megabyte,
which is slower than any disk."""

PARSE_COMPUTING = 4
"""Seconds of computing for the same, most of it for the library's start; a second more for each 5 megabytes."""

_IDLE_EXIT = 75
_MADV_DONTNEED = 4
_PR_SET_PDEATHSIG = 1
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from workbench.sandbox import _work
_work(int(sys.argv[1]), bool(sys.argv[3]))
"""


class WorkerFailed(WorkbenchError):
    """The worker gave no result: it raised, crashed, or went past a limit. Its traceback, if any, is a note."""


class Cancelled(WorkbenchError):
    """The caller's cancel event was set."""


def run(
    function: Callable[..., Result],
    *args: Any,
    timeout: float | None = None,
    since: float | None = None,
    memory_mib: float | None = None,
    adjustable: bool = False,
    progress: Callable[[Any], object] | None = None,
    cancel: threading.Event | None = None,
    warm: bool = False,
    what: str | None = None,
) -> Result:
    """Call ``function(*args)`` in a worker process and return its result.

    Args:
        function: importable by name: defined in a module, not in a notebook cell or inside another function.
        args: anything that can be pickled.
        timeout: seconds of wall clock, the worker's start included; since: when they began (`time.monotonic`), where
            this is a part of a longer task; now if None.
        memory_mib: MiB of resident memory, over the worker and its children. Resident, since TensorFlow and ONNX
            Runtime reserve many times the address space that they use. Where the machine has less left (`left_mib`),
            that is the limit.
        adjustable: a person can give it another ``memory_mib``, and a sentence about it says so.
        progress: called in this thread with every message of the worker. If given, the function gets a keyword
            argument ``progress`` to send them with.
        cancel: set it from another thread to stop the worker within `_TICK`.
        warm: use the worker that waits from an earlier task, if any, and let this one wait afterwards. It does not
            if the task failed, left processes behind, imported modules from outside the installation (the person may
            be editing them), or more than `WARM_MIB` is held.
        what: the task in the words of its user, for error sentences: ``Converting model.h5``; the function's name if
            None.

    Raises:
        WorkerFailed: it raised, crashed, ran out of time or memory, or returned something that cannot be pickled.
        Cancelled: `cancel` was set.
        WorkbenchError: one that the function itself raised comes through with its type.
    """
    name = what or _name(function)
    task = _task(function, args, progress, name)
    watch = _Watch(name, timeout, since, memory_mib=memory_mib, adjustable=adjustable, cancel=cancel)
    worker = _take() if warm else None
    while True:
        waited, keep = worker is not None, False
        worker = worker or _Process()
        try:
            result, keep = _attend(worker, task, watch, progress)
            return cast("Result", result)
        except _IdledOut:
            # It ended while the task was on its way.
            if not waited:
                raise
        finally:
            # Also on KeyboardInterrupt, and where `progress` raised.
            if not (warm and keep and _put_back(worker)):
                worker.end()
        worker = None


def parse(
    function: Callable[..., Result],
    path: str | os.PathLike[str],
    *args: Any,
    timeout: float | None = None,
    since: float | None = None,
    cancel: threading.Event | None = None,
) -> Result:
    """``function(path, *args)``, which lets a C library read a file that anybody may have made: it can crash there, or
    never come back, holding Python's lock. In a worker, with limits by the file's size: of wall clock, and of
    computing, which soon ends a file made to hang, and never a sound one on a busy machine. Here, where this is one.

    Args:
        timeout, since: as for `run`, where the caller gives less time.

    Raises:
        See `run`.
    """
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    computing = PARSE_COMPUTING + size / 5e6
    if in_worker():
        return _within(computing, function, path, *args)
    seconds = min(PARSE_SECONDS + size / 1e6, math.inf if timeout is None else timeout)
    return run(
        _within, computing, function, path, *args, timeout=seconds, since=since, memory_mib=memory_for(size),
        cancel=cancel, warm=True, what=f"Reading {os.fspath(path)}",
    )  # fmt: skip


def _within(seconds: float, function: Callable[..., Result], *args: Any) -> Result:
    """In a worker: ``function(*args)``, which ends the process with so many seconds of computing."""
    # By the signal's own way: a handler of Python's would wait for the lock.
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        return function(*args)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


class Worker:
    """A worker process for several tasks, one at a time, which share what their modules hold in globals.

    Nothing is tidied between tasks, so that they can be timed. It ends with `close`, and with a task that failed or was
    cancelled: what it held is in doubt then. Threads may share it: they wait for each other.

    Args:
        memory_mib, adjustable: as for `run`, for all tasks together.
        environment: variables beside this process's own, set before the interpreter starts: thread counts, say, which
            libraries read when they are imported.
    """

    def __init__(
        self,
        *,
        memory_mib: float | None = None,
        adjustable: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.memory_mib = memory_mib
        self._adjustable = adjustable
        self._turn = threading.Lock()
        self._process: _Process | None = _Process(stays=True, environment=environment)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def run(
        self,
        function: Callable[..., Result],
        *args: Any,
        timeout: float | None = None,
        processor: float | None = None,
        progress: Callable[[Any], object] | None = None,
        cancel: threading.Event | None = None,
        what: str | None = None,
    ) -> Result:
        """Call ``function(*args)`` there; as the module's `run`.

        Args:
            processor: seconds of the processor's time, which do not pass while other programs have it.
        """
        name = what or _name(function)
        task = _task(function, args, progress, name)
        with self._turn:
            process, done = self._process, False
            if process is None:
                raise WorkerFailed(
                    f"{name} is not possible: its worker process has ended; start again with a fresh one."
                )
            watch = _Watch(name, timeout, None, processor, self.memory_mib, self._adjustable, cancel)
            try:
                result, done = _attend(process, task, watch, progress)
                return cast("Result", result)
            except WorkerFailed:
                if self._process is None:
                    raise WorkerFailed(f"{name} was stopped: its worker process was closed meanwhile.") from None
                raise
            finally:
                if not done:
                    self.close()

    @property
    def alive(self) -> bool:
        """Whether it can take a task."""
        return self._process is not None

    def close(self) -> None:
        """End the process, whatever it does, for whichever thread."""
        process, self._process = self._process, None
        if process is not None:
            process.end()


class _IdledOut(WorkerFailed):
    """The worker had waited too long when the task came."""


def _task(function: Callable[..., Any], args: tuple[Any, ...], progress: object, name: str) -> tuple[bytes, bytes]:
    """(settings, call) as they are sent to the worker."""
    try:
        if getattr(function, "__module__", None) == "__main__":
            raise pickle.PicklingError("it is defined in a notebook cell or script, not in a module")
        call = pickle.dumps((function, args, progress is not None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise WorkerFailed(f"{name} cannot be sent to a worker process: {first_line(error)}.") from error
    place = os.getcwd() if os.path.isdir(os.curdir) else None
    return pickle.dumps(([str(entry) for entry in sys.path], place, name)), call


def _attend(
    worker: _Process, task: tuple[bytes, bytes], watch: _Watch, progress: Callable[[Any], object] | None
) -> tuple[Any, bool]:
    """Give the worker the task and watch over it. The caller ends the worker unless this returns.

    Returns:
        (the function's result, whether the worker can take another task).

    Raises:
        _IdledOut: it had ended before the task came. Others: see `run`.
    """
    watch.begin(worker.pid)
    messages = worker.send(task)
    while True:
        # Between messages, too: a chatty worker is not an obedient one.
        now = time.monotonic()
        watch.check(now)
        # Not anew for each of many short tasks: a look takes 1 ms or more.
        if now >= worker.next_look:
            watch.look()
            worker.next_look = now + _TICK
        with suppress(queue.Empty):
            kind, value = messages.get(timeout=_TICK)
            if kind == "progress" and progress is not None:
                progress(value)
            elif kind == "result":
                return cast("tuple[Any, bool]", value)
            elif kind == "error":
                raise value
            elif kind == "end":
                raise (_IdledOut if worker.wait() == _IDLE_EXIT else WorkerFailed)(worker.obituary(watch.name))


@dataclass
class _Watch:
    """What a task may take of time and of the machine, and the sentences that end it; see `run` and `Worker.run`."""

    name: str
    timeout: float | None
    since: float | None
    processor: float | None = None
    memory_mib: float | None = None
    adjustable: bool = False
    cancel: threading.Event | None = None

    def begin(self, pid: int) -> None:
        self.pid = pid
        self.begun = time.monotonic() if self.since is None else self.since
        self.before = 0.0 if self.processor is None else _processor_seconds(pid)
        self.room: float | None = None

    def check(self, now: float) -> None:
        """
        Raises:
            Cancelled, WorkerFailed: it is to end, or its time is over.
        """
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled(f"{self.name} was cancelled.")
        if self.timeout is not None and now > self.begun + self.timeout:
            raise self._too_long(self.timeout, "seconds")

    def look(self) -> None:
        """
        Raises:
            WorkerFailed: the process has more than it may.
        """
        if self.processor is not None and _processor_seconds(self.pid) - self.before > self.processor:
            raise self._too_long(self.processor, "seconds of processor time")
        if self.memory_mib is None:
            return
        used, own = _memory_mib(self.pid)
        if self.room is None:
            self.room = own + left_mib()
        if used > self.memory_mib:
            more = "give it more with memory_mib (--memory), or" if self.adjustable else "give it"
            limit = f"the {self.memory_mib:,.0f} MiB it was given, and was stopped; {more}"
        elif own > self.room:
            used, limit = own, f"the {self.room:,.0f} MiB this machine had left for it, and was stopped; give it"
        else:
            return
        raise WorkerFailed(f"{self.name} used {used:,.0f} MiB of memory, more than {limit} a smaller model or batch.")

    def _too_long(self, given: float, of: str) -> WorkerFailed:
        return WorkerFailed(
            f"{self.name} took more than the {round(given, 1):g} {of} it was given and was stopped; if its file may be "
            "damaged, get it again, and try when the machine has less to do."
        )


class _Process:
    """A process waiting for a task, and the pipe to it.

    Args:
        stays: it takes one task after the other from one caller, with nothing tidied between them; else it may wait
            for another caller's.
    """

    def __init__(self, *, stays: bool = False, environment: Mapping[str, str] | None = None) -> None:
        # What it prints goes to a file: standard output may be our caller's data.
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        self.connection, theirs = Pipe()
        self.listener: threading.Thread | None = None
        self.next_look = 0.0
        path = json.dumps([str(entry) for entry in sys.path])
        with theirs:
            start = lambda: subprocess.Popen(  # noqa: E731
                # -P: what it imports first is Python's, not a file of that name in the current folder.
                [sys.executable, "-P", "-X", "faulthandler", "-c", _START, str(theirs.fileno()), path, "stays" * stays],
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
                env={**os.environ, **(environment or {})},
                pass_fds=[theirs.fileno()],
                # A group of its own: Ctrl-C in a terminal is ours to handle, and its children end with it.
                start_new_session=True,
            )
            # Linux ends a worker with the thread that started it (`_work`), and this one may outlive its first caller.
            self.process = _starter.submit(start).result()
        self.pid, self.owner = self.process.pid, os.getpid()

    def send(self, task: tuple[bytes, bytes]) -> queue.SimpleQueue[tuple[str, Any]]:
        """Give it a task; what it says comes through the queue, last a result, an error or an end."""
        self.output.seek(0)
        self.output.truncate()
        messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.listener = threading.Thread(target=_converse, args=(self.connection, task, messages), daemon=True)
        self.listener.start()
        return messages

    def wait(self) -> int:
        return self.process.wait()

    def end(self) -> None:
        if os.getpid() != self.owner:
            return  # a forked child: it is its parent's
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()
        # The listener sees the pipe end, unless a stray grandchild holds the other side: it closes it then.
        if self.listener is None or not self.listener.is_alive():
            self.connection.close()

    def obituary(self, name: str) -> str:
        """Why it ended without a result."""
        code = self.wait()
        if code >= 0:
            return f"{name} ended its process with exit code {code} instead of returning a result."
        if code == -signal.SIGVTALRM:
            return (
                f"{name} took more computing than any sound file of its size and was stopped: it is damaged, or made "
                "to hang; get it again."
            )
        if code == -signal.SIGKILL:
            return f"{name} was killed by the system, most likely because memory ran out."
        self.output.seek(0)
        said = [line for line in self.output.read().decode(errors="replace").splitlines() if line.startswith("Fatal")]
        reason = said[-1].removeprefix("Fatal Python error: ") if said else signal.strsignal(-code) or str(-code)
        return (
            f"{name} crashed its process ({reason}); the file it worked on may be damaged, or hit a bug in the "
            "library: get it again, or have it made anew."
        )


def _converse(connection: Connection, task: tuple[bytes, bytes], messages: queue.SimpleQueue[tuple[str, Any]]) -> None:
    """Send the task and pass on what comes back. A thread of its own: a hung worker blocks this, not its time limit."""
    try:
        for part in task:
            connection.send_bytes(part)
        while True:
            answer = connection.recv_bytes()
            try:
                message = pickle.loads(answer)
            except Exception as error:
                # A class that pickles there and cannot be built here.
                message = "error", WorkerFailed(f"The worker's answer cannot be read: {first_line(error)}.")
            messages.put(message)
            if message[0] == "result":
                return
    except (EOFError, OSError):
        messages.put(("end", None))
        connection.close()


# --- the worker that waits --------------------------------------------------------------------------------------

_waiting: list[_Process] = []
_lock = threading.Lock()
_starter = ThreadPoolExecutor(1, "workbench-sandbox")
"""One thread that lives as long as this process."""


def _take() -> _Process | None:
    with _lock:
        worker = _waiting.pop() if _waiting else None
    if worker is not None and worker.process.poll() is not None:
        worker.end()
        return None
    return worker


def _put_back(worker: _Process) -> bool:
    """Let it wait for another task; no if another one waits already, or it is not as clean as a fresh one."""
    with suppress(psutil.Error):
        process = psutil.Process(worker.pid)
        if process.memory_info().rss > WARM_MIB * 2**20 or process.children():
            return False
    with _lock:
        if _waiting:
            return False
        _waiting.append(worker)
        return True


@atexit.register
def end_warm_worker(holding_mib: float = 0) -> None:
    """End the worker that waits, if one does and holds so much memory; the next task starts a fresh one."""
    with _lock:
        workers = [worker for worker in _waiting if not holding_mib or _memory_mib(worker.pid)[0] >= holding_mib]
        _waiting[:] = [worker for worker in _waiting if worker not in workers]
    for worker in workers:
        worker.end()


def _forget() -> None:
    """In a forked child: the worker and the thread are its parent's."""
    global _lock, _starter
    _lock, _starter = threading.Lock(), ThreadPoolExecutor(1, "workbench-sandbox")
    _waiting.clear()


os.register_at_fork(after_in_child=_forget)


# --- what the machine has, and a worker takes -------------------------------------------------------------------


def memory_for(size: int) -> float:
    """MiB that a worker may take to load or convert a model of so many bytes."""
    return MEMORY_MIB + 8 * size / 2**20


def left_mib(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """MiB of memory that nobody uses: of the machine, and of the container that this is (cgroups, either version). What
    the system keeps of files it would give back.

    Args:
        groups: which groups this process is in; root: where the groups are.
    """
    left: float = psutil.virtual_memory().available
    lines = groups.read_text().splitlines() if groups.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        inside = top / path.lstrip("/")
        # Any of the groups around it may have a limit. A container may see itself as the top, by another's path.
        for group in (inside, *inside.parents):
            left = min(left, _left_in(group, "" if not controllers else "total_"))
            if group == top:
                break
    return left / 2**20


def _left_in(group: Path, total: str) -> float:
    """Bytes up to the limit of a memory group; infinite where it has none."""
    most, now = ("memory.limit_in_bytes", "memory.usage_in_bytes") if total else ("memory.max", "memory.current")
    try:
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = sum(int(kept[f"{total}{name}_file"]) for name in ("inactive", "active"))
        return int((group / most).read_text()) - int((group / now).read_text()) + files
    except (OSError, ValueError, KeyError):  # no such group, "max", other counts
        return math.inf


def _memory_mib(pid: int) -> tuple[float, float]:
    """MiB of a process and its children: (resident, its own: not shared with others or kept in files)."""
    resident = own = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                memory = one.memory_info()
                resident += memory.rss
                own += memory.rss - getattr(memory, "shared", 0)
    return resident / 2**20, own / 2**20


def _processor_seconds(pid: int) -> float:
    with suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system
    return 0.0


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


# --- the worker's side ------------------------------------------------------------------------------------------


_is_worker = False


def in_worker() -> bool:
    """Whether this process is a worker: nothing runs in it but our tasks."""
    return _is_worker


def _work(descriptor: int, stays: bool) -> None:
    """Run one task after the other."""
    global _is_worker
    _is_worker = True
    # jsonschema, which Nengo takes along, would compile its grammar of IRIs at once, for a second; none is asked here.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    if sys.platform == "linux":
        # When the thread that started us ends, which is when its process dies: `run` waits for us. This works even
        # while we are stuck in C code that holds Python's lock; `_listen` does the rest elsewhere.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Where memory runs out all the same, the system is to end this process, not the caller.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
    connection = Connection(descriptor)
    tasks: queue.SimpleQueue[tuple[bytes, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    lock = threading.Lock()

    def send(kind: str, value: Any) -> None:
        data = pickle.dumps((kind, value), pickle.HIGHEST_PROTOCOL)
        with lock:
            connection.send_bytes(data)

    while True:
        try:
            settings, call = tasks.get(timeout=None if stays else IDLE_SECONDS)
        except queue.Empty:
            os._exit(_IDLE_EXIT)
        sys.path[:], place, name = pickle.loads(settings)
        if place is not None:
            with suppress(OSError):
                os.chdir(place)
        _do(call, stays, name, send)
        del settings, call
        if not stays:
            release_memory()


def _do(call: bytes, stays: bool, name: str, send: Callable[[str, Any], None]) -> None:
    """One task: its result goes back, or its error, and then the process ends."""
    before = set(sys.modules)
    if not stays:
        _reset_peak()
    try:
        function, args, wants_progress = pickle.loads(call)
        del call
        result = function(*args, **({"progress": lambda message: send("progress", message)} if wants_progress else {}))
        del args
        if not stays:
            release_memory()
        keep = stays or not _foreign_modules(before)
        try:
            send("result", (result, keep))
        except Exception as error:
            kind = type(result).__qualname__
            raise WorkerFailed(f"{name} returned a {kind}, which cannot be sent back: {first_line(error)}.") from None
    except BaseException as error:
        send("error", portable(error, name))
        # Not the interpreter's own end: unloading TensorFlow takes long, and may crash.
        os._exit(0)


def release_memory() -> None:
    """Give memory back to the system: what was freed, which the C library may keep for later; and what libraries' files
    hold, most of which only their start needed (TensorFlow's 400 MiB), and which comes back from there when it is used.

    No other thread may load a library meanwhile: the system's loader writes to what it has just mapped.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.malloc_trim(0)
        for begin, end in _unwritten():
            library.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)


def _unwritten() -> Iterator[tuple[int, int]]:
    """(begin, end) of memory that is as it stands in a file: code and constants. What a library's loader wrote into its
    constants, addresses, would not come back; it may have been swapped out."""
    area = ""
    with open("/proc/self/smaps") as lines:
        for line in lines:
            first, *others = line.split()
            if not first.endswith(":"):
                readable, name = others[0] in ("r-xp", "r--p"), (others[4:] or [""])[0]
                area = first if readable and name.startswith("/") else ""
            elif first == "Anonymous:" and others[0] != "0":
                area = ""
            elif first == "Swap:" and others[0] == "0" and area:
                begin, end = area.split("-")
                yield int(begin, 16), int(end, 16)


def _foreign_modules(before: set[str]) -> bool:
    """Did the task import modules that belong to a person's project rather than to the installation?"""
    folders = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.add(str(Path(__file__).parent))
    known = tuple(folders | {os.path.realpath(folder) for folder in folders})
    # TensorFlow's autograph writes modules of its own.
    new = (name for name in set(sys.modules) - before if not name.startswith("__autograph_generated"))
    files = (getattr(sys.modules[name], "__file__", None) for name in new)
    return any(not (file.startswith(known) or os.path.realpath(file).startswith(known)) for file in files if file)


def _reset_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """MiB of resident memory at the task's highest, asked from within the task; in a `Worker`, at its own highest.

    Where the system cannot reset the mark (not Linux), it is the process's highest: too much in a warm worker.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def portable(error: BaseException, name: str, pythons: bool = False) -> BaseException:
    """The error, where it is one of the workbench's (or of Python's own, if `pythons`) and can be sent; else one that
    says the same of what `name` did, with the traceback as a note."""
    what = f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__
    plain = WorkerFailed(f"{name} failed with {what}.")
    plain.add_note("In the worker process:\n" + "".join(traceback.format_exception(error)))
    if not isinstance(error, WorkbenchError) and not (pythons and type(error).__module__ == "builtins"):
        return plain
    try:
        # An exception class may pickle and not unpickle.
        pickle.loads(pickle.dumps(error))
    except Exception:
        return plain
    return error


def _listen(connection: Connection, tasks: queue.SimpleQueue[tuple[bytes, bytes]]) -> None:
    """Tasks as they come. The caller closes its end of the pipe by ending, however it ends."""
    with suppress(EOFError, OSError):
        while True:
            tasks.put((connection.recv_bytes(), connection.recv_bytes()))
    os.killpg(0, signal.SIGKILL)
