"""What a run was made with: versions, commit, machine, hashes. Nothing here names a host or a folder."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sselib.paths import project_root

PACKAGES: tuple[str, ...] = (
    "sselib",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "xgboost",
    "shap",
    "optuna",
    "umap-learn",
    "pymatgen",
    "spglib",
    "pyzeo",
    "pandera",
    "plotly",
    "pymatviz",
    "papermill",
    "nbclient",
    "torch",
    "chgnet",
)
# Modules that run, check or show notebooks: a change there does not change what a notebook computes.
_TOOLS = frozenset(
    {
        "__main__",
        "check",
        "cli",
        "notebooks",
        "parameters",
        "pngs",
        "processes",
        "provenance",
        "report",
        "runner",
    }
)


def versions() -> dict[str, str]:
    """Return the versions of the main packages that are installed, and of Python."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, object]:
    """Return ``{"commit": ..., "dirty": ...}``; both None where the suite is no git checkout."""
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain")) if commit else None}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(project_root()), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine() -> dict[str, object]:
    """Return the platform and the number of processors."""
    return {"platform": platform.platform(), "machine": platform.machine(), "cpu_count": os.cpu_count()}


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def code_sha256() -> str:
    """Return one hash of the library's code and of the data shipped with it, tools left out."""
    package = Path(__file__).resolve().parents[1]
    code = [p for p in package.rglob("*.py") if p.stem not in _TOOLS and "_project" not in p.parts]
    data = [p for p in (project_root() / "data").rglob("*") if p.is_file()]
    lines = [f"{p.name} {file_sha256(p)}" for p in sorted(code) + sorted(data)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def path_state(path: Path) -> str:
    """Return a hash of a file's content, or of a folder's file names, sizes and times."""
    if path.is_file():
        return file_sha256(path)
    entries = [(p.relative_to(path).as_posix(), p.stat()) for p in sorted(path.rglob("*")) if p.is_file()]
    return hashlib.sha256(repr([(n, s.st_size, s.st_mtime_ns) for n, s in entries]).encode()).hexdigest()
