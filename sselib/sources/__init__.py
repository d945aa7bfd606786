"""The sources of conductivity data, each read into a `SourceTable`."""

from importlib import import_module

from sselib.errors import DataError, nearest
from sselib.sources.table import SourceTable

# Where each source is read: module of this package with a function `load`.
SOURCES: dict[str, str] = {
    "obelix": "obelix",
    "liion": "liion",
    "reference": "reference",
    "recent": "recent",
}


def load_source(name: str, **options: object) -> SourceTable:
    """Return one source by name; ``options`` go to its ``load``.

    Raises `DataError` if there is no such source or its files cannot be had. The user's own table
    is read by `sselib.sources.own.load`.
    """
    if name not in SOURCES:
        raise DataError(
            f"no source '{name}': expected one of {', '.join(SOURCES)}.{nearest(name, list(SOURCES))}"
        )
    return import_module(f"{__name__}.{SOURCES[name]}").load(**options)
