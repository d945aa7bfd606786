"""How far features can be trusted: coverage, convergence, invariance, and correlation with conductivity."""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure
from scipy.stats import rankdata

from sselib.columns import Curated, Entry
from sselib.features.pores import PoreSettings, framework
from sselib.features.table import FeatureTable, structure_features
from sselib.features.void_grid import occupiable_fraction, void_grid
from sselib.materials.structures import structure_to_json
from sselib.progress import progress

_LABELS = ("a_angstrom", "b_angstrom", "c_angstrom")
_OF_THE_CELL = {
    "atoms_per_cell",
    "cell_volume_angstrom3",
    "length_short_angstrom",
    "length_middle_angstrom",
    "length_long_angstrom",
}  # these describe the cell as written; a supercell is another cell
_MIN_ROWS = 20  # for a rank correlation
_LEAST_SHARE = 0.01  # of the cell
_LARGEST = 80  # sites; larger structures are left out of the repeated calculations


def coverage(features: pd.DataFrame, groups: pd.DataFrame, *, by: pd.Series | None = None) -> pd.DataFrame:
    """Return the share of rows that have a feature of each group, on average over its features.

    ``by`` (one value per row, such as the family) splits the rows; without it all rows count as "all".
    Columns: group, by, share, n (rows).
    """
    labels = pd.Series("all", index=features.index)
    if by is not None:
        labels = by.fillna("unknown").set_axis(features.index)
    parts = []
    for group, names in groups.groupby("group", sort=False)["feature"]:
        present = features[list(names)].notna().mean(axis=1).groupby(labels)
        parts.append(
            pd.DataFrame({"group": group, "share": present.mean(), "n": present.size()})
            .rename_axis("by")
            .reset_index()
        )
    return pd.concat(parts, ignore_index=True)[["group", "by", "share", "n"]]


def small_structures(structures: Mapping[str, Structure], *, n: int) -> dict[str, Structure]:
    """Return ``n`` structures of at most 80 sites, spread evenly over the ids in their order.

    Cells with three equal axes are left out where there are others, because new axis labels cannot
    change them.
    """
    small = [key for key, s in structures.items() if len(s) <= _LARGEST]
    fits = [key for key in small if np.ptp(structures[key].lattice.abc) > 0.1] or small
    places = np.unique(np.linspace(0, len(fits) - 1, n).round().astype(int)) if fits else []
    return {fits[i]: structures[fits[i]] for i in places}


def volume_convergence(
    structures: Mapping[str, Structure], settings: PoreSettings, *, spacings_angstrom: Sequence[float]
) -> pd.DataFrame:
    """Return the probe-occupiable share of the cell at several grid spacings.

    Columns: structure_id, formula, spacing_angstrom, pov_fraction, difference (relative to the finest
    spacing) and seconds. Structures with less than 1 % of pores are left out: a relative difference says
    nothing there.
    """
    rows = []
    for key, structure in progress(structures.items(), stage="convergence", total=len(structures)):
        formula = structure.composition.reduced_formula
        found = [
            (key, formula, h, *_timed_volume(structure, replace(settings, grid_spacing_angstrom=h)))
            for h in sorted(spacings_angstrom, reverse=True)
        ]
        finest = found[-1][3]
        if finest >= _LEAST_SHARE:
            rows += [(*row[:4], row[3] / finest - 1, row[4]) for row in found]
    return pd.DataFrame(
        rows, columns=["structure_id", "formula", "spacing_angstrom", "pov_fraction", "difference", "seconds"]
    )


def _timed_volume(structure: Structure, settings: PoreSettings) -> tuple[float, float]:
    start, atoms = time.perf_counter(), framework(structure, settings)
    grid = void_grid(
        atoms.lattice,
        atoms.frac_coords,
        atoms.radii_angstrom,
        spacing_angstrom=settings.grid_spacing_angstrom,
        probe_radius_angstrom=settings.probe_radius_angstrom,
    )
    volume = occupiable_fraction(grid, probe_radius_angstrom=settings.probe_radius_angstrom)
    return volume, time.perf_counter() - start


def _relabelled(s: Structure, rng: np.random.Generator) -> Structure:
    return Structure(Lattice(s.lattice.matrix[[2, 0, 1]]), s.species_and_occu, s.frac_coords[:, [2, 0, 1]])


def _moved(s: Structure, rng: np.random.Generator) -> Structure:
    return Structure(s.lattice, s.species_and_occu, s.frac_coords + rng.random(3))


def _shuffled(s: Structure, rng: np.random.Generator) -> Structure:
    order = rng.permutation(len(s))
    return Structure(s.lattice, [s[int(i)].species for i in order], s.frac_coords[order])


def _doubled(s: Structure, rng: np.random.Generator) -> Structure:
    return s.make_supercell([2, 1, 1], in_place=False)


REWRITINGS: dict[str, Callable[[Structure, np.random.Generator], Structure]] = {
    "axis labels": _relabelled,
    "origin": _moved,
    "order of atoms": _shuffled,
    "supercell": _doubled,
}


def invariance(structures: Mapping[str, Structure], settings: PoreSettings, *, seed: int = 0) -> pd.DataFrame:
    """Return how features change when the same crystal is written down differently.

    Columns: structure_id, rewriting, kind ("invariant" or "a, b, c"), feature (the one that changes most)
    and change: its absolute change, relative to the value where that is above 1.
    """
    rng, rows = np.random.default_rng(seed), []
    pairs = list(itertools.product(structures.items(), REWRITINGS.items()))
    originals = {key: _numbers(s, settings) for key, s in structures.items()}
    for (key, structure), (name, rewrite) in progress(pairs, stage="invariance"):
        again = _numbers(rewrite(structure, rng), settings)
        left_out = _OF_THE_CELL | set(_LABELS) if name == "supercell" else set(_LABELS)
        for kind, names in (("invariant", set(again) - left_out), ("a, b, c", _LABELS)):
            rows.append((key, name, kind, *_largest_change(originals[key], again, sorted(names))))
    return pd.DataFrame(rows, columns=["structure_id", "rewriting", "kind", "feature", "change"])


def _numbers(structure: Structure, settings: PoreSettings) -> dict[str, float]:
    return structure_features(structure_to_json(structure), settings).numbers


def _largest_change(
    first: Mapping[str, float], second: Mapping[str, float], names: Iterable[str]
) -> tuple[str, float]:
    """Return the feature that changes most; a value that appears or vanishes counts as infinite."""

    def change(name: str) -> float:
        """Return the relative change of one feature, infinite where only one of the two is missing."""
        a, b = first.get(name, np.nan), second.get(name, np.nan)
        if np.isnan(a) and np.isnan(b):
            return 0.0
        return np.inf if np.isnan(a) or np.isnan(b) else abs(a - b) / max(abs(a), 1.0)

    changes = {name: change(name) for name in names}
    worst = max(changes, key=changes.__getitem__)
    return worst, changes[worst]


def rank_correlations(
    curated: pd.DataFrame,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Return Spearman's rank correlation of each feature with log10(sigma), with a 95 % interval.

    Upper bounds enter with their bound. The bootstrap draws groups of near-duplicates, not rows, because
    copies of one material are no independent evidence. Columns: feature, group, rho, ci_low, ci_high, n.
    Features with fewer than 20 rows or a single value are left out; strongest first.
    """
    target = curated[Entry.LOG10_SIGMA].to_numpy(float)
    blocks = pd.factorize(curated[Curated.DUPLICATE_GROUP])[0]
    rows = []
    pairs = list(zip(groups["feature"], groups["group"], strict=True))
    for name, group in progress(pairs, stage="correlations"):
        values = features[name].to_numpy(float)
        known = np.isfinite(values)
        if known.sum() >= _MIN_ROWS and np.ptp(values[known]) > 0:
            draws = _bootstrap(values[known], target[known], blocks[known], n_bootstrap, seed)
            rows.append(
                (
                    name,
                    group,
                    _spearman(values[known], target[known]),
                    *np.nanquantile(draws, [0.025, 0.975]),
                    int(known.sum()),
                )
            )
    table = pd.DataFrame(rows, columns=["feature", "group", "rho", "ci_low", "ci_high", "n"])
    return table.sort_values("rho", key=np.abs, ascending=False, ignore_index=True)


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rho, NaN where one side has a single value."""
    first, second = rankdata(x), rankdata(y)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def _bootstrap(x: np.ndarray, y: np.ndarray, blocks: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return rho of ``n`` samples of whole blocks, drawn with replacement."""
    rng = np.random.default_rng(seed)
    order = np.argsort(blocks, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1)
    draws = (
        np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]) for _ in range(n)
    )
    return np.array([_spearman(x[rows], y[rows]) for rows in draws])


def metric_records(
    found: FeatureTable,
    *,
    dataset: str,
    convergence: pd.DataFrame,
    invariant: pd.DataFrame,
    spacing_angstrom: float,
    seed: int,
) -> list[dict[str, object]]:
    """Return what `metrics.json` holds: time, coverage, failures, convergence, invariance."""
    shares = coverage(found.features, found.groups)
    rows = [("coverage", row["group"], row["share"], row["n"], "1") for row in shares.to_dict("records")]
    structures = found.n_computed + found.n_cached
    rows += [
        ("seconds", "all", found.seconds, structures, "s"),
        ("structures_computed", "all", found.n_computed, structures, "1"),
        ("failed_or_corrected", "all", found.failures["id"].nunique(), len(found.features), "1"),
        (
            "volume_difference_from_finest_grid",
            "pores",
            grid_difference(convergence, spacing_angstrom),
            convergence["structure_id"].nunique(),
            "1",
        ),
        (
            "largest_change_when_rewritten",
            "all",
            largest_invariant_change(invariant),
            invariant["structure_id"].nunique(),
            "1",
        ),
    ]
    fixed = {
        "dataset": dataset,
        "model": "none",
        "protocol": "all_rows",
        "ci_low": None,
        "ci_high": None,
        "seed": seed,
    }
    return [
        {**fixed, "metric": metric, "features": features, "value": value, "n": n, "unit": unit}
        for metric, features, value, n, unit in rows
    ]


def grid_difference(convergence: pd.DataFrame, spacing_angstrom: float) -> float:
    """Return the largest relative difference of a volume at one spacing from that at the finest."""
    rows = convergence[np.isclose(convergence["spacing_angstrom"], spacing_angstrom)]
    return float(rows["difference"].abs().max())


def largest_invariant_change(invariant: pd.DataFrame) -> float:
    """Return the largest change of a feature that should not change."""
    return float(invariant.loc[invariant["kind"] == "invariant", "change"].max())
