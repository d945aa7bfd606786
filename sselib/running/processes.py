"""Child processes that must not outlive the work that started them."""

import contextlib

import psutil


def descendants(pid: int | None = None, *, since: float = 0.0) -> list[psutil.Process]:
    """Return the descendants of a process (default: this one) started at or after ``since`` (epoch, s)."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child] if child.create_time() >= since else []
    return found


def end(processes: list[psutil.Process], *, grace_s: float = 3.0) -> None:
    """Ask the processes to stop, and kill those that are still there after ``grace_s`` seconds."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=grace_s)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=grace_s)
