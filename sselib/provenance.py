"""What a run was made with: versions, commit, machine, hashes. Nothing here names a host or a folder."""

import contextlib
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

from sselib.errors import DataError
from sselib.paths import project_root

PACKAGES = (
    "sselib numpy pandas scipy scikit-learn xgboost shap optuna umap-learn pymatgen spglib pyzeo pandera "
    "plotly pymatviz papermill nbclient torch chgnet"
)
# Parts that run, check or show notebooks: a change there does not change what a notebook computes.
_TOOLS = ("__main__.py", "cli.py", "panels/", "reporting/headline.py", "reporting/report.py", "running/")


def versions() -> dict[str, str]:
    """Return the versions of the main packages that are installed, and of Python."""
    found = {"python": platform.python_version()}
    for name in PACKAGES.split():
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def git_state() -> dict[str, object]:
    """Return ``{"commit": ..., "dirty": ...}``; both None where the suite is no git checkout."""
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain")) if commit else None}


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(project_root()), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> dict[str, object]:
    """Return the platform and the number of processors."""
    return {"platform": platform.platform(), "machine": platform.machine(), "cpu_count": os.cpu_count()}


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def as_recorded(run: Path, path: Path) -> Path:
    """Return ``path``, a file of the run folder ``run``, if it is as `sse run` left it.

    A notebook executed by hand records nothing, and its files pass. Raises `DataError` for a file that was
    changed since, so that no model is used that the run did not train.
    """
    record = run / "run.json"
    notebooks = json.loads(record.read_text(encoding="utf-8"))["notebooks"] if record.is_file() else {}
    file = path.relative_to(run).as_posix()
    known = notebooks.get(file.split("/")[0], {}).get("outputs", {}).get(file)
    if known is not None and known != file_sha256(path):
        raise DataError(f"{path} is not the file that the run recorded: run its notebook again")
    return path


def code_sha256() -> str:
    """Return one hash of the code that computes (tools left out) and of the data shipped with it."""
    package = Path(__file__).resolve().parent
    own = [p for p in package.rglob("*.py") if not p.relative_to(package).as_posix().startswith(_TOOLS)]
    code = [p for p in own if "_project" not in p.parts]
    search = (package.parent / "crystal_search").rglob("*.py")
    data = [p for p in (project_root() / "data").rglob("*") if p.is_file()]
    lines = [f"{p.name} {file_sha256(p)}" for files in (code, search, data) for p in sorted(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def content_sha256(value: object) -> str:
    """Return a hash of a value's content, the same in every process and for any order of dicts and sets.

    Takes None, texts, numbers, arrays, tables, dataclasses, objects with ``as_dict`` (structures), and lists,
    tuples, dicts and sets of them. Raises `TypeError` for anything else, whose content it cannot know.
    """
    return hashlib.sha256(repr(_plain(value)).encode()).hexdigest()


def _plain(value: object) -> object:
    """Return a nest of tuples that begin with what they were: (), {} and an empty array stay apart."""
    match value:
        case np.ndarray() if not value.dtype.hasobject:
            return "array", value.dtype.str, value.shape, hashlib.sha256(np.ascontiguousarray(value)).digest()
        case np.ndarray() | np.generic():
            return _plain(value.tolist())
        case str():
            return str(value)  # of an enumeration its text
        case None | bytes() | bool() | int() | float():
            return value
        case pd.DataFrame() | pd.Series():
            table = pd.DataFrame(value)
            columns = [(name, column.to_numpy()) for name, column in table.items()]
            return "table", _plain([table.index.to_numpy(), *columns])
        case Mapping():
            return "mapping", *sorted((repr(_plain(k)), _plain(v)) for k, v in value.items())
        case Set():
            return "set", *sorted(repr(_plain(v)) for v in value)
        case Sequence():
            return "sequence", *map(_plain, value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return type(value).__name__, *((f.name, _plain(getattr(value, f.name))) for f in fields(value))
        case _ if hasattr(value, "as_dict"):
            return _plain(value.as_dict())
        case _ if value is pd.NA:
            return None
    raise TypeError(f"a {type(value).__name__} has no content to hash: give what it holds")


def path_state(path: Path) -> str:
    """Return a hash of a file's content, or of a folder's file names, sizes and times."""
    if path.is_file():
        return file_sha256(path)
    entries = [(p.relative_to(path).as_posix(), p.stat()) for p in sorted(path.rglob("*")) if p.is_file()]
    return hashlib.sha256(repr([(n, s.st_size, s.st_mtime_ns) for n, s in entries]).encode()).hexdigest()
