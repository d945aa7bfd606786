"""The sources of conductivity data, each read into a `SourceTable`, and what each of them is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """``embedded``: part of the suite, always there; ``test``: it judges models before it trains them."""

    embedded: bool = False
    test: bool = False


# Modules of this package with a function `load`, in the order in which a run names them.
SOURCES: dict[str, Source] = {
    "obelix": Source(),
    "reference": Source(embedded=True),
    "recent": Source(embedded=True, test=True),
    "liion": Source(),
}
EMBEDDED = tuple(name for name, source in SOURCES.items() if source.embedded)
TESTS = tuple(name for name, source in SOURCES.items() if source.test)
RESERVED_NAMES = (*SOURCES, "generated")  # which no own table may have
