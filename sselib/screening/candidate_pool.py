"""The pool of candidates of a screening: named sources, read one after the other, as often as needed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from pymatgen.core import Structure

from sselib.errors import DataError, ParameterError, SSEError, nearest
from sselib.screening.candidates import (
    Deduplicator,
    Material,
    from_curated,
    from_generated,
    from_inputs,
    from_materials_project,
)
from sselib.screening.doping import doped
from sselib.screening.substitution import hosts_from_table, prototype_hosts, substituted

PROPOSED: tuple[str, ...] = ("substitution", "prototypes", "doping")
SOURCES: tuple[str, ...] = ("own", "generated", "materials_project", *PROPOSED, "known")
KNOWN_SOURCES: tuple[str, ...] = ("obelix", "reference")  # whose labelled rows the source "known" holds


@dataclass(frozen=True)
class CandidatePool:
    """Sources by name; each call gives a fresh iterator. ``missing`` says why a source cannot be had."""

    sources: Mapping[str, Callable[[], Iterator[Material]]]
    missing: Mapping[str, str] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Material]:
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
    names: Sequence[str],
    *,
    table: pd.DataFrame,
    crystals: Mapping[str, Structure],
    run: Path,
    own_inputs: str = "",
    min_probability_substitution: float = 0.02,
    min_probability_prototypes: float = 0.001,
    min_probability_doping: float = 0.02,
    doping_fractions: Sequence[float] = (0.1, 0.25),
) -> CandidatePool:
    """Return the pool of the sources ``names`` (of `SOURCES`).

    ``table`` is that of notebook 01, ``crystals`` its structures by id. ``own_inputs``: a table of formulas,
    a CIF or a folder of CIFs. ``min_probability_*``: of a proposal, by source (lithium in place of another
    ion costs prototypes some). Dopants replace ``doping_fractions`` of an ion. A source that cannot be had
    (no generated structures, no key for the Materials Project) is in ``missing`` with its reason.
    Raises `ParameterError` for an unknown name, and where no source is left.
    """
    hosts = list(hosts_from_table(table, crystals))
    builders: dict[str, Callable[[], Iterator[Material]]] = {
        "own": lambda: from_inputs(_named(own_inputs)),
        "generated": lambda: from_generated(run),
        "materials_project": from_materials_project,
        "substitution": partial(substituted, hosts, threshold=min_probability_substitution),
        "prototypes": lambda: substituted(
            prototype_hosts(), threshold=min_probability_prototypes, source="prototypes"
        ),
        "doping": partial(doped, hosts, threshold=min_probability_doping, fractions=doping_fractions),
        "known": partial(from_curated, table, crystals, sources=KNOWN_SOURCES),
    }
    found, missing = {}, {}
    for name in names:
        if name not in builders:
            raise ParameterError(
                f"source {name!r} is unknown: expected some of {', '.join(SOURCES)}."
                f"{nearest(name, list(SOURCES))}"
            )
        try:
            next(builders[name](), None)
            found[name] = builders[name]
        except SSEError as error:
            missing[name] = str(error)
    if not found:
        reasons = "; ".join(f"{k}: {v}" for k, v in missing.items()) or "none was named"
        raise ParameterError(f"no source of candidates can be had ({reasons})")
    return CandidatePool(found, missing)


def _named(path: str) -> Path:
    if not path:
        raise DataError("the parameter own_inputs is empty: name a file or folder, or leave this source out")
    return Path(path).expanduser()
