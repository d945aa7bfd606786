"""Fits side by side in threads or processes, each with one thread of linear algebra."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from sselib.progress import progress

T = TypeVar("T")
Job = TypeVar("Job")


def in_threads(function: Callable[..., T], jobs: Iterable[tuple], *, n_jobs: int, stage: str = "") -> list[T]:
    """Return ``function(*job)`` of every job, ``n_jobs`` at a time; with a ``stage`` it shows progress.

    Meanwhile BLAS has one thread: two fits with two threads each wait for one another on two cores, which
    made Gaussian processes seven times slower. Results do not change but for rounding.
    """
    with threadpool_limits(limits=1):
        work = Parallel(n_jobs, backend="threading", return_as="generator")(
            delayed(function)(*job) for job in jobs
        )
        return list(progress(work, stage=stage) if stage else work)


def in_processes(
    function: Callable[[Sequence[Job]], list[T]], jobs: Sequence[Job], *, n_jobs: int
) -> list[T]:
    """Return ``function(jobs)``, one result a job in their order; ``n_jobs`` processes share the jobs.

    For fits whose many small steps hold up threads beside them. A process takes seconds to start.
    """
    shares = [jobs[k::n_jobs] for k in range(min(n_jobs, len(jobs)))]
    with threadpool_limits(limits=1):
        done = Parallel(n_jobs)(delayed(function)(share) for share in shares)
    found: list[T] = [None] * len(jobs)
    for k, own in enumerate(done):
        found[k::n_jobs] = own
    return found
