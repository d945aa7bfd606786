"""Progress of long work: a bar in a terminal, a widget in JupyterLab, one line per stage in a log."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], *, stage: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show how far the work is.

    With ``SSE_PROGRESS=log`` (set by `sse run` and by the tests) it prints one line to stderr when
    the stage ends, so that executed notebooks hold no progress bars.
    """
    if bars_are_shown():
        yield from tqdm(items, desc=stage, total=total, leave=False)
        return
    start, count = time.perf_counter(), 0
    for item in items:
        yield item
        count += 1
    print(f"{stage}: {count} done in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


def bars_are_shown() -> bool:
    """Return whether work shows bars, not lines in a log."""
    return os.environ.get("SSE_PROGRESS") != "log"
