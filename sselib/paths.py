"""Where the suite's own files lie: notebooks, parameter files and data shipped with it."""

import os
from pathlib import Path

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
