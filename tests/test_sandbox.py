"""What a worker process does to its caller: nothing but an answer or a sentence."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from cells import outputs_of_cells
from workers import workers

from workbench import sandbox
from workbench.errors import BadInput, WorkbenchError
from workbench.sandbox import Cancelled, Worker, WorkerFailed, run

TASKS = """
import ctypes, os, subprocess, sys, threading, time
from workbench.errors import BadInput

def add(a, b): return a + b
def pid(): return os.getpid()
def ones(count):
    import numpy as np
    return np.ones(count, np.float64)
def fail(): raise ZeroDivisionError("no such luck\\nsecond line")
def refuse(): raise BadInput("Input 'x' is odd.")
def leave(): os._exit(3)
def exit_politely(): sys.exit("bye")
def crash(): ctypes.string_at(0)
def grow(mib):
    held = []
    for _ in range(mib // 16):
        held.append(b"x" * (16 << 20))
    return len(held)
def spin():
    while True: pass
def hold_the_lock():
    ctypes.PyDLL(None).sleep(3600)
def hold_the_lock_for(path): hold_the_lock()
def spin_over(path): spin()
def spin_there(path):
    from workbench import sandbox
    return sandbox.parse(spin_over, path)
def read(path): return open(path).read()
def read_and_tell(path): return read(path), os.getpid()
def parse_there(path):
    from workbench import sandbox
    return os.getpid(), sandbox.parse(read_and_tell, path)[1]
def unpicklable(): return threading.Lock()
def unpicklable_error():
    class Local(BadInput): pass
    raise Local("told in a local class")
def chatter(count, progress):
    for index in range(count): progress({"step": index})
    return count
def babble(progress):
    while True: progress("again")
def shout():
    print("to stdout"); print("to stderr", file=sys.stderr); os.system("echo from a child")
    return sys.stdin.read()
def leave_a_child_behind(path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(path, "w") as file: file.write(str(child.pid))
def report_and_wait(path):
    with open(path, "w") as file: file.write(str(os.getpid()))
    time.sleep(60)
class Odd(Exception):
    def __init__(self, one, two): super().__init__("odd")
def odd_error(): raise Odd(1, 2)
class Shy:
    def __reduce__(self): return (open, ("/nonexistent/file",))
def shy(): return Shy()
kept = []
def keep(value):
    kept.append(value)
    return kept
def hoard(): kept.append(b"x" * (32 << 20))
def wait_at_most(seconds):
    from workbench import sandbox
    sandbox.IDLE_SECONDS = seconds
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module on sys.path with the functions to run; afterwards no process of ours may be left."""
    (tmp_path / "sandbox_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sandbox_tasks", raising=False)
    sandbox_tasks = importlib.import_module("sandbox_tasks")

    before = workers()
    yield sandbox_tasks
    del sys.modules["sandbox_tasks"]
    # Zombies are children too, so this counts those that ended and were not waited for.
    assert workers() <= before


def gone(pid: int, seconds: float = 300) -> bool:
    """Did this process end? One that nobody waits for here (its parent died) may stay a zombie."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_function_runs_in_another_process_and_its_result_comes_back(tasks: Any) -> None:
    assert run(tasks.add, [1], [2]) == [1, 2]
    assert run(tasks.pid) not in (os.getpid(), run(tasks.pid))


def test_100_mb_come_back_whole(tasks: Any) -> None:
    result = run(tasks.ones, 13_000_000, timeout=600)
    assert result.nbytes == 104_000_000 and result.sum() == 13_000_000


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("fail", "sandbox_tasks.fail failed with ZeroDivisionError: no such luck."),
        ("leave", "sandbox_tasks.leave ended its process with exit code 3 instead of returning a result."),
        ("exit_politely", "sandbox_tasks.exit_politely failed with SystemExit: bye."),
        ("crash", "sandbox_tasks.crash crashed its process (Segmentation fault); the file"),
        ("unpicklable", "sandbox_tasks.unpicklable returned a lock, which cannot be sent back: cannot pickle"),
        ("unpicklable_error", "sandbox_tasks.unpicklable_error failed with Local: told in a local class."),
        ("odd_error", "sandbox_tasks.odd_error failed with Odd: odd."),
        ("shy", "The worker's answer cannot be read: No such file or directory: '/nonexistent/file'."),
    ],
)
def test_whatever_goes_wrong_there_is_one_sentence_here(tasks: Any, task: str, sentence: str) -> None:
    with pytest.raises(WorkerFailed) as caught:
        run(getattr(tasks, task), timeout=600)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value) and isinstance(caught.value, WorkbenchError)


def test_the_workers_traceback_is_kept_as_a_note(tasks: Any) -> None:
    with pytest.raises(WorkerFailed) as caught:
        run(tasks.fail)
    assert "second line" in caught.value.__notes__[0] and "sandbox_tasks.py" in caught.value.__notes__[0]


def test_errors_of_the_workbench_come_through_as_they_are(tasks: Any) -> None:
    with pytest.raises(BadInput) as caught:
        run(tasks.refuse)
    assert type(caught.value) is BadInput and str(caught.value) == "Input 'x' is odd."


def test_too_much_memory_stops_the_worker_long_before_it_is_all_taken(tasks: Any) -> None:
    with pytest.raises(WorkerFailed, match=r"used .* MiB of memory, more than the 500 MiB it was given") as caught:
        run(tasks.grow, 3000, memory_mib=500, timeout=600)
    used = int(str(caught.value).split("used ")[1].split(" MiB")[0].replace(",", ""))
    # What a worker can take between two looks (and on a busy machine several), but well short of 3,000.
    assert 500 < used < 2000
    assert run(tasks.grow, 160, memory_mib=500, timeout=600) == 10


@pytest.mark.parametrize("task", ["spin", "hold_the_lock"])
def test_an_endless_task_ends_with_its_time(tasks: Any, task: str) -> None:
    with pytest.raises(WorkerFailed, match=f"{task} took more than the 0.5 seconds it was given"):
        run(getattr(tasks, task), timeout=0.5)


def test_seconds_may_have_begun_before(tasks: Any) -> None:
    with pytest.raises(WorkerFailed, match="took more than the 60 seconds it was given"):
        run(tasks.spin, timeout=60, since=time.monotonic() - 61)


def test_a_limit_of_memory_is_never_more_than_the_machine_has_left(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "left_mib", lambda: 300.0)
    with pytest.raises(WorkerFailed, match=r"used .* MiB of memory, more than the 3\d\d MiB this machine had left"):
        run(tasks.grow, 3000, memory_mib=5000, timeout=60)
    assert run(tasks.grow, 160, memory_mib=5000, timeout=60) == 10


def groups(folder: Path, files: dict[str, str]) -> dict[str, Path]:
    """A process's groups and where they are, as Linux shows them."""
    for name, content in {"groups": files.pop("groups"), **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return {"groups": folder / "groups", "root": folder}


def test_what_is_left_is_what_the_container_leaves(tmp_path: Path) -> None:
    mib = 1 << 20
    machine = sandbox.left_mib(**groups(tmp_path / "none", {"groups": "0::/\n"}))
    assert 0 < machine <= psutil.virtual_memory().total / mib
    # Version 2: what is kept of files comes back; the limit of a group around counts.
    kept = f"anon 1\ninactive_file {10 * mib}\nactive_file {5 * mib}\n"
    new = {
        "groups": "0::/a/b\n",
        "a/memory.max": str(100 * mib), "a/memory.current": str(70 * mib), "a/memory.stat": kept,
        "a/b/memory.max": "max", "a/b/memory.current": str(60 * mib), "a/b/memory.stat": kept,
    }  # fmt: skip
    assert sandbox.left_mib(**groups(tmp_path / "new", new)) == 45
    # Version 1, in a container that sees itself at the top, by the path it has outside.
    old = {
        "groups": "5:cpu:/x\n4:memory,hugetlb:/docker/123\n0::/\n",
        "memory/memory.limit_in_bytes": str(50 * mib), "memory/memory.usage_in_bytes": str(40 * mib),
        "memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {2 * mib}\ntotal_active_file {mib}\n",
    }  # fmt: skip
    assert sandbox.left_mib(**groups(tmp_path / "old", old)) == 13


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="this system has no such score")
def test_where_memory_runs_out_the_system_ends_the_worker_first(tasks: Any) -> None:
    mine = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(run(tasks.read, "/proc/self/oom_score_adj")) == max(mine, 500)


def test_what_a_c_library_reads_is_read_in_a_worker_once(tasks: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    content, pid = sandbox.parse(tasks.read_and_tell, tmp_path / "file")
    assert content == "content" and pid != os.getpid()
    # There it is in one already.
    outer, inner = run(tasks.parse_there, str(tmp_path / "file"))
    assert outer == inner
    sandbox.end_warm_worker()


def test_reading_ends_with_the_time_for_its_size_or_the_callers(
    tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "PARSE_SECONDS", 0.5)
    (tmp_path / "file").write_bytes(bytes(500_000))
    with pytest.raises(WorkerFailed, match=r"Reading \S*file took more than the 1 seconds it was given"):
        sandbox.parse(tasks.hold_the_lock_for, tmp_path / "file")
    with pytest.raises(WorkerFailed, match=r"Reading \S*file took more than the 0\.2 seconds it was given"):
        sandbox.parse(tasks.hold_the_lock_for, tmp_path / "file", timeout=0.2)


def test_reading_ends_with_the_computing_for_its_size(
    tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However busy the machine: what hangs computes, and what waits for its turn does not."""
    (tmp_path / "file").write_bytes(b"small")
    monkeypatch.setattr(sandbox, "PARSE_COMPUTING", 0.5)
    with pytest.raises(WorkerFailed, match=r"Reading \S*file took more computing than any sound file"):
        sandbox.parse(tasks.spin_over, tmp_path / "file")
    with pytest.raises(WorkerFailed, match="took more computing than any sound file"):
        run(tasks.spin_there, str(tmp_path / "file"), timeout=600)


def test_limits_hold_while_a_worker_floods_its_caller_with_progress(tasks: Any) -> None:
    with pytest.raises(WorkerFailed, match="took more than"):
        run(tasks.babble, timeout=1, progress=lambda message: None)


def test_another_thread_can_cancel(tasks: Any) -> None:
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    with pytest.raises(Cancelled, match=r"spin was cancelled\."):
        run(tasks.spin, cancel=cancel, timeout=600)


def test_progress_arrives_in_order_in_the_calling_thread(tasks: Any) -> None:
    seen: list[Any] = []
    threads = set()

    def note(message: Any) -> None:
        seen.append(message["step"])
        threads.add(threading.get_ident())

    assert run(tasks.chatter, 500, progress=note) == 500
    assert seen == list(range(500)) and threads == {threading.get_ident()}


def test_an_exception_in_the_progress_callback_stops_the_worker_and_comes_out(tasks: Any) -> None:
    def stop(message: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tasks.babble, progress=stop)


def test_what_a_worker_prints_stays_out_of_the_callers_output(tasks: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tasks.shout) == ""
    assert capfd.readouterr() == ("", "")


def test_functions_without_an_importable_name_are_refused(tasks: Any) -> None:
    with pytest.raises(WorkerFailed, match=r"<lambda> cannot be sent to a worker process"):
        run(lambda: 1)
    with pytest.raises(WorkerFailed, match="cannot be sent"):
        run(tasks.add, threading.Lock(), 1)


def test_processes_the_worker_started_end_with_it(tasks: Any, tmp_path: Path) -> None:
    run(tasks.leave_a_child_behind, str(tmp_path / "pid"))
    assert gone(int((tmp_path / "pid").read_text()))


def caller(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    """A script, with no guard around its main part, that uses the sandbox."""
    (tmp_path / "script.py").write_text(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{body}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")], env=environment, text=True, stdout=-1, stderr=-1
    )


def test_the_callers_main_module_is_not_run_again(tasks: Any, tmp_path: Path) -> None:
    script = caller(
        tmp_path,
        "print('once')\nfrom workbench.sandbox import run\nimport sandbox_tasks\n"
        "def mine(): pass\n"
        "print(run(sandbox_tasks.add, 1, 2))\n"
        "try: run(mine)\nexcept Exception as error: print(error)\n",
    )
    out, err = script.communicate(timeout=600)
    assert err == ""
    assert out.splitlines() == [
        "once",
        "3",
        "__main__.mine cannot be sent to a worker process: "
        "it is defined in a notebook cell or script, not in a module.",
    ]


def test_a_worker_starts_without_python_files_of_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('what lies here was run')")
    script = "import statistics; from workbench.sandbox import run; print(run(statistics.mean, [1, 3]))"
    # -P: the caller itself does not import from there either, as the command `workbench` does not.
    done = subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_notebook_kernel_uses_it_like_a_script(tasks: Any, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import sandbox_tasks
from workbench.sandbox import run
print(run(sandbox_tasks.add, 1, 2, progress=None))
for task in (sandbox_tasks.crash, sandbox_tasks.shout):
    try: print(repr(run(task)))
    except Exception as error: print(error)
"""
    [outputs] = outputs_of_cells([code], tmp_path)
    assert {output.name for output in outputs} == {"stdout"}
    first, crash, last = "".join(output.text for output in outputs).splitlines()
    assert (first, last) == ("3", "''") and crash.startswith("sandbox_tasks.crash crashed its process")


@pytest.mark.parametrize("task", ["report_and_wait", "hold"])
def test_a_worker_does_not_outlive_a_caller_that_is_killed(tasks: Any, tmp_path: Path, task: str) -> None:
    (tmp_path / "holding.py").write_text(
        "import ctypes, sandbox_tasks\n"
        "def report_and_wait(path): sandbox_tasks.report_and_wait(path)\n"
        "def hold(path):\n"
        "    import os\n    open(path, 'w').write(str(os.getpid()))\n"
        "    ctypes.PyDLL(None).sleep(60)\n"
    )
    note = tmp_path / "pid"
    script = caller(
        tmp_path, f"from workbench.sandbox import run\nimport holding\nrun(holding.{task}, {str(note)!r})\n"
    )
    end = time.monotonic() + 300
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < end and script.poll() is None
        time.sleep(0.05)
    script.kill()
    script.communicate()
    assert gone(int(note.read_text()))


def test_calls_leave_no_open_files_or_threads(tasks: Any) -> None:
    run(tasks.add, 1, 1)
    gc.collect()
    me = psutil.Process()
    files, threads = me.num_fds(), threading.active_count()
    for _ in range(5):
        run(tasks.add, 1, 1)
    deadline = time.monotonic() + 300
    while (me.num_fds(), threading.active_count()) > (files, threads) and time.monotonic() < deadline:
        # The threads that listened see the pipe close a moment after the result.
        time.sleep(0.05)
    assert me.num_fds() <= files and threading.active_count() <= threads


# --- the warm worker ---------------------------------------------------------------------------------------------


@pytest.fixture
def cold() -> Iterator[set[int]]:
    """No worker waits before, none after; gives those that another test's engine may hold."""
    sandbox.end_warm_worker()
    others = workers()
    yield others
    sandbox.end_warm_worker()
    assert workers() <= others


def test_a_warm_worker_does_one_task_after_another(cold: None) -> None:
    first = run(os.getpid, warm=True)
    assert first != os.getpid() and run(os.getpid, warm=True) == first
    # A cold task neither uses it nor ends it.
    assert run(os.getpid) != first and run(os.getpid, warm=True) == first


def test_a_waiting_worker_that_holds_too_much_can_be_ended_before_others_start(cold: None) -> None:
    first = run(os.getpid, warm=True)
    sandbox.end_warm_worker(holding_mib=10_000)
    assert run(os.getpid, warm=True) == first
    sandbox.end_warm_worker(holding_mib=1)
    assert gone(first)


def test_a_worker_runs_on_after_it_gave_code_and_constants_back(cold: None) -> None:
    before, after, answer = run(_released)
    assert answer == 3 * 499_500
    for rights in before:
        assert after[rights][0] < before[rights][0]
        # What the loader wrote, addresses of functions, would not come back.
        assert after[rights][1] == before[rights][1]
    if before:
        assert before["r--p"][1] > 0


def _released() -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]], int]:
    import numpy as np

    before = _file_kib()
    sandbox.release_memory()
    after = _file_kib()
    return before, after, int((np.arange(1000) * 3).sum())


def _file_kib() -> dict[str, tuple[int, int]]:
    """{rights: KiB of this process's memory (as in files, written to)}; empty where the system does not tell."""
    found = {"r-xp": (0, 0), "r--p": (0, 0)}
    try:
        areas = psutil.Process().memory_maps(grouped=False)
    except (AttributeError, psutil.Error):
        return {}
    for area in areas:
        if area.perms in found and area.path.startswith("/"):
            held = [area.rss - area.anonymous, area.anonymous]
            found[area.perms] = (found[area.perms][0] + held[0] // 1024, found[area.perms][1] + held[1] // 1024)
    return found


def test_a_warm_worker_outlives_the_thread_that_started_it(cold: None) -> None:
    pids: list[int] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: pids.append(run(os.getpid, warm=True)))
        thread.start()
        thread.join()
    assert pids[0] == pids[1]


@pytest.mark.parametrize("task", ["fail", "crash", "leave", "spin", "refuse"])
def test_after_a_failure_the_next_task_gets_a_fresh_worker(cold: None, tasks: Any, task: str) -> None:
    first = run(os.getpid, warm=True)
    with pytest.raises(WorkbenchError):
        run(getattr(tasks, task), warm=True, timeout=2)
    assert run(os.getpid, warm=True) != first
    assert gone(first)
    sandbox.end_warm_worker()


def test_a_worker_that_imported_a_persons_own_module_is_not_kept(cold: set[int], tasks: Any) -> None:
    """They may edit it before the next call."""
    assert run(tasks.add, 1, 1, warm=True) == 2
    assert workers() <= cold


def test_a_worker_that_holds_much_memory_is_not_kept(cold: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "WARM_MIB", 5)  # less than any Python
    run(os.getpid, warm=True)
    assert workers() <= cold


def test_two_tasks_at_once_get_a_worker_each_and_one_waits_afterwards(cold: set[int], tmp_path: Path) -> None:
    pipes = [tmp_path / "first", tmp_path / "second"]
    for pipe in pipes:
        os.mkfifo(pipe)
    texts: list[str] = []
    threads = [threading.Thread(target=lambda p=pipe: texts.append(run(p.read_text, warm=True))) for pipe in pipes]
    for thread in threads:
        thread.start()
    writers = [pipe.open("w") for pipe in pipes]  # each waits for its reader, so both have begun
    assert len(workers() - cold) == 2
    for writer in writers:
        with writer:
            writer.write("read")
    for thread in threads:
        thread.join()
    assert texts == ["read", "read"] and len(workers() - cold) == 1


def test_a_worker_killed_while_it_waits_is_replaced(cold: None) -> None:
    first = run(os.getpid, warm=True)
    os.kill(first, 9)
    psutil.Process(first).wait(300)
    assert run(os.getpid, warm=True) not in (first, os.getpid())


def test_the_peak_is_the_tasks_own(cold: None) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system cannot reset the mark")
    # 400 MiB for a moment, in a worker that stays.
    big = run(sandbox.peak_mib, warm=True)
    run(exec, "x = b'x' * (400 << 20)", warm=True)
    assert run(sandbox.peak_mib, warm=True) < big + 100


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_a_waiting_worker_does_not_outlive_its_caller(tmp_path: Path, end: str) -> None:
    script = caller(
        tmp_path,
        "import os, time\nfrom workbench.sandbox import run\nprint(run(os.getpid, warm=True), flush=True)\n"
        + ("time.sleep(60)\n" if end == "kill" else ""),
    )
    assert script.stdout is not None
    pid = int(script.stdout.readline())
    if end == "kill":
        script.kill()
    _, err = script.communicate(timeout=600)
    assert gone(pid) and err == ""


def test_a_forked_child_leaves_its_parents_worker_alone(cold: None) -> None:
    first = run(os.getpid, warm=True)
    child = os.fork()
    if child == 0:
        try:
            mine = run(os.getpid, warm=True)
            sandbox.end_warm_worker()
            os._exit(0 if mine != first else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run(os.getpid, warm=True) == first


# --- a worker for several tasks ----------------------------------------------------------------------------------


def test_tasks_of_a_worker_share_what_their_module_holds(tasks: Any) -> None:
    with Worker() as worker:
        assert worker.run(tasks.keep, 1) == [1] and worker.run(tasks.keep, 2) == [1, 2]
        assert worker.run(os.getpid) == worker.run(os.getpid) != os.getpid()
    with Worker() as other:
        assert other.run(tasks.keep, 3) == [3]


@pytest.mark.parametrize("task", ["fail", "refuse", "crash", "leave", "spin", "unpicklable"])
def test_a_worker_ends_with_a_task_that_failed(tasks: Any, task: str) -> None:
    worker = Worker()
    pid = worker.run(os.getpid)
    with pytest.raises(WorkbenchError):
        worker.run(getattr(tasks, task), timeout=1)
    assert not worker.alive and gone(pid)
    with pytest.raises(WorkerFailed, match=r"posix\.getpid is not possible: its worker process has ended"):
        worker.run(os.getpid)
    worker.close()


def test_a_worker_can_be_cancelled_and_reports_progress(tasks: Any) -> None:
    seen: list[Any] = []
    cancel = threading.Event()
    with Worker() as worker:
        assert worker.run(tasks.chatter, 3, progress=seen.append) == 3 and len(seen) == 3
        threading.Timer(0.3, cancel.set).start()
        with pytest.raises(Cancelled, match=r"spin was cancelled\."):
            worker.run(tasks.spin, cancel=cancel, timeout=600)
        assert not worker.alive


def test_a_worker_gets_its_environment_and_the_caller_keeps_its_own() -> None:
    with Worker(environment={"OMP_NUM_THREADS": "7"}) as worker:
        assert worker.run(os.getenv, "OMP_NUM_THREADS") == "7" and worker.run(os.getenv, "PATH") == os.environ["PATH"]
    assert os.environ.get("OMP_NUM_THREADS") != "7"


def test_a_workers_memory_limit_is_over_all_its_tasks(tasks: Any) -> None:
    """Each takes 32 MiB and keeps them, faster than the memory is looked at."""
    with Worker(memory_mib=400) as worker, pytest.raises(WorkerFailed, match="more than the 400 MiB it was given"):
        for _ in range(100):
            worker.run(tasks.hoard)


def test_seconds_of_processor_time_pass_only_while_a_worker_has_it(tasks: Any) -> None:
    with Worker() as worker:
        worker.run(time.sleep, 1.2, processor=0.6)
        with pytest.raises(WorkerFailed, match=r"spin took more than the 0\.6 seconds of processor time"):
            worker.run(tasks.spin, processor=0.6, timeout=60)


def test_a_worker_outlives_the_thread_that_made_it() -> None:
    made: list[Worker] = []
    thread = threading.Thread(target=lambda: made.append(Worker()))
    thread.start()
    thread.join()
    with made[0] as worker:
        assert worker.run(os.getpid) != os.getpid()


def test_a_worker_waits_longer_than_a_warm_one(tasks: Any) -> None:
    # The worker imports its own copy of the module, where the time is set by a task.
    with Worker() as worker:
        worker.run(tasks.wait_at_most, 0.2)
        time.sleep(1)
        assert worker.run(tasks.add, 1, 1) == 2


def test_short_tasks_of_a_worker_come_back_at_once() -> None:
    with Worker() as worker:
        worker.run(os.getpid)
        times = []
        for _ in range(100):
            start = time.perf_counter()
            worker.run(os.getpid)
            times.append(time.perf_counter() - start)
    print(f"a round trip takes {sorted(times)[50] * 1e6:.0f} µs")
    # 200 µs; some at least where others crowd the cores, and without waiting for a tick in any case.
    assert min(times) < sandbox._TICK / 5


def test_a_worker_starts_tensorflow_without_what_only_keras_wrappers_and_plots_need() -> None:
    loaded, later = run(_started)
    assert loaded == []
    # Whoever needs it afterwards gets it.
    assert later == "DataFrame"


def _started() -> tuple[list[str], str]:
    from workbench.frameworks.tensorflow.quiet import OPTIONAL
    from workbench.frameworks.tensorflow.start import start_keras

    start_keras()
    loaded = [name for name in OPTIONAL if name in sys.modules]
    import pandas

    return loaded, pandas.DataFrame.__name__
