"""Fits side by side: order, errors, and one thread of BLAS for each."""

from collections.abc import Sequence

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from sselib.threads import in_processes, in_threads


def blas_threads(_: int) -> list[int]:
    np.linalg.cholesky(np.eye(4))  # BLAS is there
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_every_job_has_one_thread_of_blas_and_the_rest_of_the_process_as_before() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads(0)
        inside = in_threads(blas_threads, [(k,) for k in range(4)], n_jobs=2)
        assert before
        assert all(set(found) == {1} for found in inside)
        assert blas_threads(0) == before


def test_results_keep_the_order_of_the_jobs_and_progress_names_the_stage(
    capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSE_PROGRESS", "log")
    assert in_threads(pow, [(k, 2) for k in range(20)], n_jobs=3, stage="squares") == [
        k * k for k in range(20)
    ]
    assert "squares: 20 done" in capfd.readouterr().err


def test_an_error_of_a_job_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(divmod, [(1, 1), (1, 0)], n_jobs=2)


def _doubled(numbers: Sequence[int]) -> list[int]:
    return [2 * n for n in numbers]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_processes_return_results_in_the_order_of_the_jobs(n_jobs: int) -> None:
    assert in_processes(_doubled, range(5), n_jobs=n_jobs) == [0, 2, 4, 6, 8]
    assert in_processes(_doubled, [], n_jobs=n_jobs) == []
