"""The sandbox's own workers among this process's children: a browser, Dask's and joblib's trackers come and go."""

import psutil


def workers() -> set[int]:
    """The pids of the workers that live, however far down, and of children that ended and nobody waited for."""
    return {child.pid for child in psutil.Process().children(recursive=True) if _is_one(child)}


def _is_one(process: psutil.Process) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return "python" in process.name()
        return any("workbench.sandbox" in word for word in process.cmdline())
    except psutil.ZombieProcess:
        return "python" in process.name()
    except psutil.NoSuchProcess:
        return False
