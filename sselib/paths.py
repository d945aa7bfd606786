"""Where the suite's own files lie: notebooks, parameter files and data shipped with it."""

import os
from pathlib import Path

import platformdirs

from sselib.errors import DataError

_MARKER = Path("data") / "sources.yaml"


def project_root() -> Path:
    """Return the folder that holds `notebooks/`, `params/` and `data/`.

    It is the folder named by `SSE_HOME`, else the checkout that holds this package, else the copy
    inside an installed wheel. Raises `DataError` if none of them holds `data/sources.yaml`.
    """
    package = Path(__file__).resolve().parent
    named = os.environ.get("SSE_HOME")
    candidates = [Path(named)] if named else [package.parent, package / "_project"]
    for candidate in candidates:
        if (candidate / _MARKER).is_file():
            return candidate.resolve()
    looked = ", ".join(str(c) for c in candidates)
    raise DataError(f"no {_MARKER} under {looked}: set SSE_HOME to the suite's checkout")


def own_data_folder() -> Path:
    """Return the folder of imported own data; it need not exist yet.

    It is the folder named by `SSE_OWN_DATA`, else `data_own/` in the checkout, else, where the suite is
    installed as a package, the user's own data folder of the system: an update never touches it.
    """
    named = os.environ.get("SSE_OWN_DATA")
    if named:
        return Path(named).expanduser().resolve()
    root = project_root()
    installed = root.is_relative_to(Path(__file__).resolve().parent)
    return platformdirs.user_data_path("sselib") / "own" if installed else root / "data_own"
