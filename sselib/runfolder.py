"""The run folder: where notebooks leave what later notebooks, reports and people read.

Every file appears whole or not at all: it is written aside and then renamed.
"""

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import pandas as pd

from sselib.errors import RunError
from sselib.paths import project_root


def write_whole(path: Path, write: Callable[[Path], None]) -> Path:
    """Call ``write`` on a temporary neighbour of ``path``, then rename it into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}{path.suffix}")
    try:
        write(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def locked(path: Path, *, busy: str) -> Iterator[None]:
    """Hold the lock file ``path`` for this process; the system frees it however the process ends.

    Raises `RunError` with the text ``busy`` at once if another process (or this one) holds it.
    """
    try:
        with filelock.FileLock(path, timeout=0):
            yield
    except filelock.Timeout as error:
        raise RunError(busy) from error


def to_json(value: object) -> str:
    """Return JSON text; numpy scalars become numbers, NaN becomes null, dates and paths text."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False)


def read_json(path: Path) -> object:
    """Return what a JSON file of a run folder holds. Raises `RunError` if it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not valid JSON ({error}): run its notebook again") from error


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


@dataclass(frozen=True)
class RunFolder:
    """One run and the notebook that writes to it now.

    ``root`` is the run folder, ``notebook`` the name of the writing notebook (``01_curation``).
    """

    root: Path
    notebook: str

    @property
    def folder(self) -> Path:
        """The writing notebook's own folder."""
        return self.root / self.notebook

    @property
    def figures(self) -> Path:
        """Where the writing notebook puts figures and their data."""
        return self.folder / "figures"

    def write_table(self, name: str, table: pd.DataFrame) -> Path:
        """Write ``<notebook>/<name>.parquet``."""
        return write_whole(self.folder / f"{name}.parquet", lambda p: table.to_parquet(p, index=False))

    def write_json(self, name: str, value: object) -> Path:
        """Write ``<notebook>/<name>.json``."""
        text = to_json(value) + "\n"
        return write_whole(self.folder / f"{name}.json", lambda p: p.write_text(text, encoding="utf-8"))

    def read_table(self, notebook: str, name: str) -> pd.DataFrame:
        """Read a table that an earlier notebook of this run wrote."""
        return pd.read_parquet(self._require(notebook, f"{name}.parquet"))

    def read_json(self, notebook: str, name: str) -> object:
        """Read a JSON file that an earlier notebook of this run wrote."""
        return read_json(self._require(notebook, f"{name}.json"))

    def _require(self, notebook: str, file: str) -> Path:
        path = self.root / notebook / file
        if not path.is_file():
            raise RunError(
                f"{self.notebook} needs {notebook}/{file} in the run folder {self.root}, and it is "
                f"not there: run notebook {notebook} first (sse run {notebook[:2]} --out {self.root})"
            )
        return path

    def outputs(self) -> pd.DataFrame:
        """List the files that the writing notebook left, with their size in bytes."""
        files = sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        rows = [(p.relative_to(self.root).as_posix(), p.stat().st_size) for p in files]
        return pd.DataFrame(rows, columns=["file", "bytes"])


def open_run(run_dir: str, *, notebook: str) -> RunFolder:
    """Return the run folder for a notebook's ``run_dir`` parameter, creating it if needed.

    An empty text means the default, ``runs/smoke`` in the suite's own folder; a relative path is
    taken from the working directory.
    """
    root = Path(run_dir).expanduser().resolve() if run_dir else project_root() / "runs" / "smoke"
    (root / notebook).mkdir(parents=True, exist_ok=True)
    return RunFolder(root=root, notebook=notebook)
