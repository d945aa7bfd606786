"""Fits side by side in threads, each with one thread of linear algebra."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from sselib.progress import progress

T = TypeVar("T")


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
