"""Ordered versions of disordered structures, and whether a classifier cares (McHaffie et al., Fig. 2).

The mobile ion is removed, as in the publication, because ordering it too is out of reach. Occupancies of the
rest are rounded to whole atoms in the cell, oxidation states come from `sselib.materials.oxidation`, and
pymatgen's OrderDisorderedStructureTransformation gives the arrangement of lowest Ewald energy that its
best-first search finds. What cannot be ordered is counted with its reason.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pymatgen.core import Element, Species, Structure
from pymatgen.transformations.standard_transformations import OrderDisorderedStructureTransformation
from sklearn.model_selection import GroupKFold

from sselib.atomsets.classification import auc_pr, mcc
from sselib.atomsets.classifiers import Classifier, make_classifier
from sselib.columns import Curated, Entry
from sselib.features.representations import Representation, simplify
from sselib.features.site_features import pooled, site_sets
from sselib.kept import kept_json
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.oxidation import assign_oxidation_states
from sselib.materials.structures import structure_from_json, structure_to_json
from sselib.progress import progress
from sselib.validation.metrics import resample_counts
from sselib.validation.splits import row_groups

_FULL = 0.999  # occupancy from which a site counts as ordered
_MAX_SITES = 200  # larger cells are not tried
_N_FOLDS = 5
_EMPTY = 1e-6  # occupancy below which a site is empty
_ROUNDING_L1 = 0.1  # largest change of the framework's composition (L1) by rounding to whole atoms
NEEDS_NO_ORDERING, ORDERED = "ordered already", "ordered"


@dataclass(frozen=True)
class OrderingResult:
    """``outcomes``: id, outcome, n_sites; ``scores``: model, features, metric, value, ci_low, ci_high, n.

    ``delta`` is the difference in AUC-PR, ordered minus disordered, with its 95 % interval.
    """

    outcomes: pd.DataFrame
    scores: pd.DataFrame
    n_ordered: int = 0
    delta: tuple[float, float, float] = field(default=(np.nan, np.nan, np.nan))

    def counts(self) -> pd.DataFrame:
        """Return outcome (numbers left out), rows and most sites of each kind."""
        kind = self.outcomes["outcome"].astype(str).str.replace(r"[0-9][0-9.]*", "…", regex=True)
        found = self.outcomes.groupby(kind, sort=False).agg(
            rows=("id", "size"), most_sites=("n_sites", "max")
        )
        return found.sort_values("rows", ascending=False).reset_index()

    def sentence(self) -> str:
        """Say what the comparison found."""
        if self.scores.empty:
            return "Too few structures were ordered for a comparison (none asked for, or no parent model)."
        value, low, high = self.delta
        verdict = "no clear difference" if low <= 0 <= high else "a difference"
        return (
            f"{int(self.scores['n'].iloc[0])} of {len(self.outcomes)} rows have both versions, "
            f"{self.n_ordered} of them ordered here. Ordered minus disordered is {value:+.2f} in AUC-PR, "
            f"95 % interval [{low:+.2f}, {high:+.2f}]: {verdict}."
        )


def ordered_structure(structure: Structure, *, mobile_ion: str = "Li") -> Structure:
    """Return the ordered framework (mobile ion removed) of lowest Ewald energy.

    An ordered framework comes back as it is. Raises whatever pymatgen raises where no arrangement fits the
    cell.
    """
    framework = simplify(structure, representation=Representation.CAN, mobile_ion=mobile_ion)
    if _is_ordered(framework):
        return framework
    if len(framework) > _MAX_SITES:
        raise ValueError(f"{len(framework)} sites: more than {_MAX_SITES}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of symmetry, about charges that rounding leaves
        whole = _with_charges(_rounded(framework), structure)
        if whole.is_ordered:
            return _plain(whole)
        transformation = OrderDisorderedStructureTransformation(
            algo=OrderDisorderedStructureTransformation.ALGO_BEST_FIRST, no_oxi_states=False
        )
        return _plain(transformation.apply_transformation(whole, return_ranked_list=False))


def _is_ordered(structure: Structure) -> bool:
    return all(len(site.species) == 1 and site.species.num_atoms > _FULL for site in structure)


def _rounded(structure: Structure) -> Structure:
    """Return the structure with whole numbers of atoms on the sites that share one mixture."""
    alike: dict[str, list[int]] = {}
    for index, site in enumerate(structure):
        alike.setdefault(str(site.species), []).append(index)
    rounded = structure.copy()
    for sites in alike.values():
        counts = _whole_counts(structure[sites[0]].species.get_el_amt_dict(), len(sites))
        for index in sites:
            rounded[index] = {el: n / len(sites) for el, n in counts.items() if n}
    rounded.remove_sites([k for k, site in enumerate(rounded) if site.species.num_atoms < _EMPTY])
    distance = l1_distances(
        *(element_fractions([s.composition.formula]) for s in (structure, rounded))
    ).item()
    if distance > _ROUNDING_L1:
        raise ValueError(
            f"rounding to whole atoms moves the composition by {distance:.2f}: needs a supercell"
        )
    return rounded


def _whole_counts(amounts: Mapping[str, float], n_sites: int) -> dict[str, int]:
    """Return whole numbers of atoms near the amounts (largest remainder), at most ``n_sites`` in all."""
    exact = {el: x * n_sites for el, x in amounts.items()}
    counts = {el: int(np.floor(x + 1e-6)) for el, x in exact.items()}
    total = min(n_sites, round(sum(exact.values())))
    rest = sorted(exact, key=lambda el: exact[el] - counts[el], reverse=True)
    for el in rest[: max(0, total - sum(counts.values()))]:
        counts[el] += 1
    return counts


def _with_charges(structure: Structure, original: Structure) -> Structure:
    states = assign_oxidation_states(original.composition).states
    charged = structure.copy()
    for index, site in enumerate(structure):
        charged[index] = {Species(el, states[el]): x for el, x in site.species.get_el_amt_dict().items()}
    return charged


def _plain(structure: Structure) -> Structure:
    plain = structure.copy()
    for index, site in enumerate(structure):
        plain[index] = Element(site.specie.symbol)
    return plain


def _attempt(structure: Structure, parts: Path | None) -> dict[str, object]:
    """Return the ordered framework as JSON ("" if there is none) and what came of the attempt."""

    def compute() -> dict[str, str]:
        """Order it; whatever an odd structure raises is its reason."""
        try:
            framework = simplify(structure, representation=Representation.CAN)
            found = structure_to_json(ordered_structure(structure))
            return {"structure": found, "outcome": NEEDS_NO_ORDERING if _is_ordered(framework) else ORDERED}
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            return {"structure": "", "outcome": reason}

    return kept_json(parts, [structure], compute)


def order_all(
    structures: Mapping[str, Structure], *, n_jobs: int = 1, parts: Path | None = None
) -> tuple[dict[str, Structure], pd.DataFrame]:
    """Return the ordered frameworks by id, and for every structure id, outcome and n_sites.

    With a folder ``parts`` each attempt is kept there, so that an interrupted run goes on.
    """
    work = Parallel(n_jobs, return_as="generator")(delayed(_attempt)(s, parts) for s in structures.values())
    attempts = dict(zip(structures, progress(work, stage="ordering", total=len(structures)), strict=True))
    rows = [(key, a["outcome"], len(structures[key])) for key, a in attempts.items()]
    found = {key: structure_from_json(a["structure"]) for key, a in attempts.items() if a["structure"]}
    return found, pd.DataFrame(rows, columns=["id", "outcome", "n_sites"])


def compare_ordered(
    table: pd.DataFrame,
    structures: Mapping[str, Structure],
    *,
    parent: str,
    n_structures: int,
    n_bootstrap: int = 500,
    seed: int = 0,
    n_jobs: int = 1,
    parts: Path | None = None,
) -> OrderingResult:
    """Order the ``n_structures`` smallest structures and score both versions on the same folds.

    Without a parent, or with ``n_structures`` 0, nothing is compared.

    Logistic regression on mean and standard deviation of MEGNet's V1, folds of `group_material`. Intervals
    resample groups, the same ones for both versions. ``parts``: see `order_all`.
    """
    if not parent or not n_structures:
        nothing = pd.DataFrame({"id": [], "outcome": [], "n_sites": []}, dtype=object)
        return OrderingResult(nothing, pd.DataFrame())
    chosen = sorted(table[Entry.ID], key=lambda i: len(structures[i]))[:n_structures]
    ordered, outcomes = order_all({i: structures[i] for i in chosen}, n_jobs=n_jobs, parts=parts)
    versions = {
        "disordered": site_sets({i: structures[i] for i in ordered}, parent=parent, representation="CAN"),
        "ordered": site_sets(ordered, parent=parent, representation="CAN"),
    }
    ids = [i for i in ordered if all(i in v.sets for v in versions.values())]
    rows = table.set_index(Entry.ID, drop=False).loc[ids]
    y, groups = rows[Curated.SUPERIONIC].to_numpy(int), row_groups("group_material", rows).to_numpy()
    n_ordered = int((outcomes["outcome"] == ORDERED).sum())
    if len(set(groups)) < _N_FOLDS or np.bincount(y, minlength=2).min() < _N_FOLDS:
        return OrderingResult(outcomes, pd.DataFrame(), n_ordered)
    p = {name: _held_out(pooled([v.sets[i] for i in ids]), y, groups) for name, v in versions.items()}
    codes, names = pd.factorize(groups)
    weights = resample_counts(len(names), n_bootstrap=n_bootstrap, seed=seed)[codes]
    values = {
        ("logistic regression", f"{name} structures", metric): function(y, q, weights)
        for metric, function in (("auc_pr", auc_pr), ("mcc", mcc))
        for name, q in p.items()
    }
    scores = pd.DataFrame(
        [(*key, *_with_interval(v), len(y)) for key, v in values.items()],
        columns=["model", "features", "metric", "value", "ci_low", "ci_high", "n"],
    )
    of_order = auc_pr(y, p["ordered"], weights) - auc_pr(y, p["disordered"], weights)
    delta = _with_interval(of_order)
    return OrderingResult(outcomes, scores, n_ordered, delta)


def _with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the value of the sample (the first) and the 95 % interval of its resamples."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return float(values[0]), float(low), float(high)


def _held_out(X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return P(superionic) of every row from a model that saw no row of its group."""
    found = np.full(len(y), y.mean())
    for train, test in GroupKFold(_N_FOLDS).split(X, groups=groups):
        if len(set(y[train])) == 2:
            fitted = make_classifier(Classifier("logistic regression", "MEGNet V1"), seed=0).fit(
                X[train], y[train]
            )
            found[test] = fitted.predict_proba(X[test])[:, 1]
    return found
