"""Results kept under a hash of what they came from: computed once, read again while nothing has changed.

A file is named after its key (with the version of code and libraries) and after its own content, so that a
damaged one is found out when it is read, and computed anew.
"""

import hashlib
import io
import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from sselib.provenance import code_sha256, content_sha256, versions
from sselib.runfolder import to_json, write_whole

T = TypeVar("T")
Arrays = dict[str, np.ndarray]


def kept_table(folder: Path | None, key: object, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table that ``make()`` returns, or the one kept in ``folder`` under the same ``key``.

    ``key`` holds all that the result depends on beside code and libraries: any nest of what `content_sha256`
    of `sselib.provenance` takes. Without a folder nothing is kept.
    """
    return _kept(folder, key, make, ("parquet", pd.DataFrame.to_parquet, pd.read_parquet))


def kept_arrays(folder: Path | None, key: object, make: Callable[[], Arrays]) -> Arrays:
    """Return named arrays (not of objects), computed or kept as in `kept_table`."""
    return _kept(folder, key, make, ("npz", lambda v, f: np.savez(f, **v), lambda f: dict(np.load(f))))


def kept_json(folder: Path | None, key: object, make: Callable[[], T]) -> T:
    """Return numbers and texts in lists and dicts, computed or kept as in `kept_table`; NaN becomes None."""
    return _kept(folder, key, make, ("json", lambda v, f: f.write(to_json(v).encode()), json.load))


def _kept(folder: Path | None, key: object, make: Callable[[], T], form: tuple[str, Callable, Callable]) -> T:
    if folder is None:
        return make()
    suffix, save, load = form
    name = content_sha256((_version(), key))[:24]
    place = Path(folder) / name[:2]
    for path in place.glob(f"{name}.*.{suffix}"):
        content = path.read_bytes()
        if path.name.split(".")[1] == hashlib.sha256(content).hexdigest()[:24]:
            return load(io.BytesIO(content))
        warnings.warn(f"the kept result {path.name} is damaged and is computed anew", stacklevel=3)
        path.unlink(missing_ok=True)
    save(make(), stream := io.BytesIO())
    path = place / f"{name}.{hashlib.sha256(stream.getvalue()).hexdigest()[:24]}.{suffix}"
    write_whole(path, lambda p: p.write_bytes(stream.getvalue()))
    return load(io.BytesIO(stream.getvalue()))  # what later calls will return, to the last type


@cache
def _version() -> str:
    """The code and libraries that this process has loaded, whatever is edited on disk while it runs."""
    return f"{code_sha256()} {versions()}"
