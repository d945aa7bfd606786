"""The pool of candidates of a screening: named sources, read one after the other, as often as needed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from sselib.errors import DataError, ParameterError, SSEError, nearest
from sselib.screening.candidates import (
    Candidate,
    Deduplicator,
    from_cifs,
    from_curated,
    from_formulas,
    from_generated,
    from_materials_project,
)
from sselib.screening.doping import doped
from sselib.screening.substitution import Host, hosts_from_table, prototype_hosts, substituted

SOURCES: tuple[str, ...] = (
    "table",
    "cifs",
    "generated",
    "materials_project",
    "substitution",
    "prototypes",
    "doping",
    "known",
)
THRESHOLDS: Mapping[str, float] = {"substitution": 0.02, "prototypes": 0.001, "doping": 0.02}
PROPOSED: tuple[str, ...] = tuple(THRESHOLDS)


@dataclass(frozen=True)
class PoolSettings:
    """What the sources need.

    ``own_table`` (with a column formula) and ``own_cif_folder``: empty for none. ``thresholds``: the
    lowest probability of a proposal, by source (lithium in place of another ion costs prototypes some).
    Up to ``max_replaced`` ions are replaced at once; dopants replace ``doping_fractions`` of an ion.
    ``known_sources``: whose labelled rows the source "known" holds.
    """

    own_table: str = ""
    own_cif_folder: str = ""
    known_sources: Sequence[str] = ("obelix", "reference")
    thresholds: Mapping[str, float] = field(default_factory=dict)
    max_replaced: int = 2
    doping_fractions: Sequence[float] = (0.1, 0.25)

    def threshold(self, source: str) -> float:
        """Return the lowest probability of a proposal of a source."""
        return float(self.thresholds.get(source, THRESHOLDS[source]))


@dataclass(frozen=True)
class CandidatePool:
    """Sources by name; each call gives a fresh iterator. ``missing`` says why a source cannot be had."""

    sources: Mapping[str, Callable[[], Iterator[Candidate]]]
    missing: Mapping[str, str] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Candidate]:
        """Yield the candidates of all sources; a composition proposed twice comes once.

        ``duplicates`` then counts what each source repeated. Materials that are brought (with their own
        structure) are the same only if composition and volume per atom agree.
        """
        proposed, brought = Deduplicator(), Deduplicator(by_structure=True)
        self.duplicates.clear()
        for name, source in self.sources.items():
            drop = proposed if name in PROPOSED else brought
            before = drop.n_dropped
            yield from drop(source())
            self.duplicates[name] = drop.n_dropped - before


def candidate_pool(
    names: Sequence[str], *, table: pd.DataFrame, structures: pd.DataFrame, run: Path, settings: PoolSettings
) -> CandidatePool:
    """Return the pool of the sources ``names`` (of `SOURCES`).

    ``table`` and ``structures`` are those of notebook 01. A source that cannot be had (no generated
    structures, no key for the Materials Project) is in ``missing`` with its reason. Raises
    `ParameterError` for an unknown name, and where no source is left.
    """
    for name in names:
        if name not in SOURCES:
            raise ParameterError(
                f"source {name!r} is unknown: expected some of {', '.join(SOURCES)}."
                f"{nearest(name, list(SOURCES))}"
            )
    unknown = [name for name in settings.thresholds if name not in THRESHOLDS]
    if unknown:
        raise ParameterError(
            f"thresholds name {', '.join(unknown)}: expected some of {', '.join(THRESHOLDS)}"
        )
    hosts = list(hosts_from_table(table, structures))
    builders = _builders(hosts, table, structures, run, settings)
    found, missing = {}, {}
    for name in names:
        try:
            next(builders[name](), None)
            found[name] = builders[name]
        except SSEError as error:
            missing[name] = str(error)
    if not found:
        reasons = "; ".join(f"{k}: {v}" for k, v in missing.items()) or "none was named"
        raise ParameterError(f"no source of candidates can be had ({reasons})")
    return CandidatePool(found, missing)


def _builders(
    hosts: list[Host], table: pd.DataFrame, structures: pd.DataFrame, run: Path, settings: PoolSettings
) -> dict[str, Callable[[], Iterator[Candidate]]]:
    s = settings
    return {
        "table": lambda: from_formulas(_named(s.own_table, "own_table")),
        "cifs": lambda: from_cifs(_named(s.own_cif_folder, "own_cif_folder")),
        "generated": lambda: from_generated(run),
        "materials_project": from_materials_project,
        "substitution": lambda: substituted(
            hosts, threshold=s.threshold("substitution"), max_replaced=s.max_replaced
        ),
        "prototypes": lambda: substituted(
            prototype_hosts(),
            threshold=s.threshold("prototypes"),
            max_replaced=s.max_replaced,
            source="prototypes",
        ),
        "doping": lambda: doped(hosts, threshold=s.threshold("doping"), fractions=s.doping_fractions),
        "known": lambda: from_curated(table, structures, sources=s.known_sources),
    }


def _named(path: str, parameter: str) -> Path:
    if not path:
        raise DataError(f"the parameter {parameter} is empty: name it, or leave this source out")
    return Path(path).expanduser()
