"""Child processes that must not outlive the work that started them."""

import psutil


def descendants(pid: int | None = None, *, since: float = 0.0) -> list[psutil.Process]:
    """Return the descendants of a process (default: this one) started at or after ``since`` (epoch, s)."""
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if _started(child) >= since]


def _started(process: psutil.Process) -> float:
    try:
        return process.create_time()
    except psutil.NoSuchProcess:
        return float("-inf")


def end(processes: list[psutil.Process], *, grace_s: float = 3.0) -> None:
    """Ask the processes to stop, and kill those that are still there after ``grace_s`` seconds."""
    for process in processes:
        _signal(process.terminate)
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        _signal(process.kill)
    psutil.wait_procs(alive, timeout=grace_s)


def _signal(send: object) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return
