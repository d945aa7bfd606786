"""Disordered structures for the published candidates whose structure type is known, from labelled hosts.

A host is a labelled structure of the same type (`data/mchaffie_table2.yaml`): its sites keep their places,
the elements of the wanted composition are spread over the sites of their kind, and lithium is brought to
its amount as in `sselib.screening.doping`. The cell stays the host's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import yaml
from pymatgen.core import PeriodicSite, Structure

from sselib.columns import Entry
from sselib.errors import DataError
from sselib.materials.composition import element_fractions, l1_distances, parse_formula
from sselib.paths import project_root
from sselib.screening.doping import with_lithium
from sselib.screening.scoring import ScreeningModels, structure_conductivities
from sselib.screening.substitution import MOBILE_ION, Host, hosts_from_table
from sselib.validation.metrics import resample_counts

_FEW = 10  # below this a bootstrap interval is too narrow to decide on
ROUTES: Mapping[str, str] = {"formula": "", "structure": "structure_"}  # and the prefix of their columns


@dataclass(frozen=True)
class StructureType:
    """``sites``: the kind of site of each element but lithium; ``anions`` of ``anion`` per formula unit."""

    space_group: int
    anion: str
    anions: float
    sites: Mapping[str, str]


@dataclass(frozen=True)
class BuiltStructure:
    """A structure for a formula, with its host, or None and the reason in ``note``.

    ``error_l1``: distance of the mole fractions of the structure and of the formula, 0 to 2; not 0 where
    the formula has more atoms of a kind than there are sites.
    """

    formula: str
    structure: Structure | None
    host_id: str = ""
    host_formula: str = ""
    error_l1: float = float("nan")
    note: str = ""


def published_structures(table: pd.DataFrame, structures: pd.DataFrame) -> list[BuiltStructure]:
    """Return a structure, or the reason for none, for each candidate of Table 2 in its order.

    ``table`` and ``structures`` are those of notebook 01. The host is the nearest in composition among the
    labelled structures of the type; its label is not used.
    """
    text = (project_root() / "data" / "mchaffie_table2.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    types = {name: StructureType(**fields) for name, fields in content["types"].items()}
    groups = table.set_index(Entry.ID)[Entry.SPACE_GROUP_NUMBER]
    hosts = list(hosts_from_table(table, structures))
    return [_built(entry, types, hosts, groups) for entry in content["candidates"]]


def _built(
    entry: Mapping[str, object], types: Mapping[str, StructureType], hosts: list[Host], groups: pd.Series
) -> BuiltStructure:
    formula = str(entry["formula"])
    if "type" not in entry:
        reason = entry.get("no_structure", "no labelled structure of its type is at hand")
        return BuiltStructure(formula, None, note=str(reason))
    kind = types[str(entry["type"])]
    fitting = [h for h in hosts if groups.get(h.id) == kind.space_group and _is_of_type(h, kind)]
    if not fitting:
        return BuiltStructure(formula, None, note=f"this run has no labelled structure of {entry['type']}")
    host = nearest_host(formula, fitting)
    try:
        crystal = with_sites_of(host.structure(), formula, kind)
    except DataError as error:
        return BuiltStructure(formula, None, host.id, host.formula, note=str(error))
    fractions = element_fractions([crystal.composition.formula, formula]).to_numpy()
    off = float(l1_distances(fractions[:1], fractions[1:]).item())
    return BuiltStructure(formula, crystal, host.id, host.formula, off, f"from {host.formula} ({host.id})")


def _is_of_type(host: Host, kind: StructureType) -> bool:
    elements = set(parse_formula(host.formula).get_el_amt_dict()) - {MOBILE_ION}
    needed = {kind.sites[el] for el in elements if el in kind.sites}
    return elements <= set(kind.sites) and needed == set(kind.sites.values())


def nearest_host(formula: str, hosts: Iterable[Host]) -> Host:
    """Return the host nearest in composition (L1), of equally near ones the first by id."""
    ordered = sorted(hosts, key=lambda h: h.id)
    fractions = element_fractions([formula, *(h.formula for h in ordered)]).to_numpy()
    return ordered[int(l1_distances(fractions[:1], fractions[1:]).round(9).argmin())]


def with_sites_of(host: Structure, formula: str, kind: StructureType) -> Structure:
    """Return the host's sites filled with the elements of a formula, each on sites of its kind.

    A kind of site is filled in proportion to the host's occupancy; more atoms than fit are left out. Raises
    `DataError` for an element without a kind of site, and where lithium finds no room.
    """
    wanted = parse_formula(formula).get_el_amt_dict()
    strangers = sorted(set(wanted) - set(kind.sites) - {MOBILE_ION})
    if strangers:
        raise DataError(f"{', '.join(strangers)} has no site in this structure type")
    there = host.composition.element_composition.get_el_amt_dict()
    units = sum(there.get(el, 0.0) for el in _same_kind(kind.anion, kind)) / kind.anions
    filled = [_filled(site, wanted, there, units, kind) for site in host]
    return with_lithium([s for s in filled if s is not None], wanted[MOBILE_ION] * units)


def _same_kind(element: str, kind: StructureType) -> list[str]:
    return [el for el, site in kind.sites.items() if site == kind.sites[element]]


def _filled(
    site: PeriodicSite,
    wanted: Mapping[str, float],
    there: Mapping[str, float],
    units: float,
    kind: StructureType,
) -> PeriodicSite | None:
    """Return a site with the wanted elements in place of those of the host, None where nothing is left."""
    found: dict[str, float] = {}
    for specie, occupancy in site.species.element_composition.items():
        if specie.symbol == MOBILE_ION:
            found[MOBILE_ION] = found.get(MOBILE_ION, 0.0) + float(occupancy)
            continue
        group = _same_kind(specie.symbol, kind)
        share = float(occupancy) * units / sum(there.get(el, 0.0) for el in group)
        for el in group:
            if wanted.get(el):
                found[el] = found.get(el, 0.0) + share * wanted[el]
    total = sum(found.values())
    fitted = {el: x / max(total, 1.0) for el, x in found.items()}
    return PeriodicSite(fitted, site.frac_coords, site.lattice) if fitted else None


def structure_route(
    built: Sequence[BuiltStructure], scores: pd.DataFrame, conductivities: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per candidate with what was built and what the models say of the structure.

    ``scores`` and ``conductivities`` have one row per built structure, in order: p_superionic,
    p_superionic_sd and d_training; log10_sigma, lower and upper. Columns: formula, host_id, host_formula,
    error_l1, why_not, and the scores with the prefix ``structure_``.
    """
    rows = pd.DataFrame(
        {
            "formula": [b.formula for b in built],
            "host_id": [b.host_id for b in built],
            "host_formula": [b.host_formula for b in built],
            "error_l1": [b.error_l1 for b in built],
            "why_not": ["" if b.structure else b.note for b in built],
        }
    )
    there = np.flatnonzero([b.structure is not None for b in built])
    columns = ["p_superionic", "p_superionic_sd", "d_training"]
    both = pd.concat([scores[columns], conductivities[["log10_sigma", "lower", "upper"]]], axis=1)
    return rows.join(both.set_axis(there, axis=0).add_prefix("structure_"))


def from_structures(built: Sequence[BuiltStructure], models: ScreeningModels) -> pd.DataFrame:
    """Return `structure_route` with what ``models`` say of the structures that could be built."""
    crystals = [b.structure for b in built if b.structure is not None]
    scores = models.superionic.predict_structures(crystals)
    return structure_route(built, scores, structure_conductivities(crystals, models))


def by_route(routes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a structure once per route: formula, ``models``, log10_sigma, its ends, measured.

    ``routes`` has the columns of `structure_route` and of `sselib.screening.published_candidates.predicted`,
    and ``models``, a name per set of models. A route without any conductivity (no model that reads
    structures) is left out.
    """
    rows = routes[routes["why_not"] == ""]
    values = ["log10_sigma", "lower", "upper"]
    tables = [
        part[["formula", "log10_measured"]].assign(
            models=f"from the {name}, {models}", **{v: part[prefix + v].to_numpy() for v in values}
        )
        for models, part in rows.groupby("models", sort=False)
        for name, prefix in ROUTES.items()
    ]
    return pd.concat([t for t in tables if t["log10_sigma"].notna().any()], ignore_index=True)


def route_errors(routes: pd.DataFrame, *, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Return the errors of both routes on the measured rows that have both, and their paired difference.

    ``routes`` as in `by_route`. Columns: models, route ("formula", "structure", "1nn": the value of the
    nearest training composition, "structure minus formula"), mae in log10(S/cm), ci_low, ci_high (95 %,
    resampled candidates), mean_p (of being superionic) and n. Empty where no row has both routes.
    """
    rows = []
    for models, part in routes.groupby("models", sort=False):
        known = part.dropna(subset=["log10_measured", "structure_log10_sigma"])
        if known.empty:
            continue
        weights = resample_counts(len(known), n_bootstrap=n_bootstrap, seed=seed)
        says = {"formula": "log10_sigma", "structure": "structure_log10_sigma", "1nn": "nearest_log10_sigma"}
        error = {route: (known["log10_measured"] - known[c]).abs() for route, c in says.items()}
        error["structure minus formula"] = error["structure"] - error["formula"]
        p = {name: known[prefix + "p_superionic"].mean() for name, prefix in ROUTES.items()}
        for route, values in error.items():
            maes = values.to_numpy(float) @ weights / len(known)
            ends = np.quantile(maes[1:], [0.025, 0.975])
            rows.append((models, route, maes[0], *ends, p.get(route, np.nan), len(known)))
    return pd.DataFrame(rows, columns=["models", "route", "mae", "ci_low", "ci_high", "mean_p", "n"])


def route_sentence(errors: pd.DataFrame) -> str:
    """Return what `route_errors` says: errors of both routes, and whether their difference may be none."""
    if errors.empty:
        return "No measured candidate has both routes in this run."
    parts = []
    for models, part in errors.groupby("models", sort=False):
        row = part.set_index("route")
        mae, difference = row["mae"], row.loc["structure minus formula"]
        excluded = difference["ci_low"] > 0 or difference["ci_high"] < 0
        parts.append(
            f"{models}: {mae['structure']:.2f} from the structure, {mae['formula']:.2f} from the formula, "
            f"{mae['1nn']:.2f} the nearest known composition; structure minus formula "
            f"{difference['mae']:+.2f} [{difference['ci_low']:+.2f}, {difference['ci_high']:+.2f}], "
            f"an interval that {'excludes' if excluded else 'includes'} 0"
        )
    n = int(errors["n"].iloc[0])
    few = " So few compounds cannot tell the routes apart." if n < _FEW else ""
    return f"Mean absolute errors of log10(S/cm), n = {n}. " + "; ".join(parts) + f".{few}"
