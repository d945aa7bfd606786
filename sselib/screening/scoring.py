"""Screening: a stream of candidates is scored in chunks, each kept under its hash, so that it can be resumed.

Two passes. The first scores every candidate from its formula (milliseconds each). The second builds the
structures of the best and scores those (a tenth of a second each), because most of the time of a screening
would otherwise go into materials that the first pass has already ranked low. Source of the scores and
filters: McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a, section 2.4.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Structure

from sselib.columns import StructureTable
from sselib.kept import kept_table
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.element_data import practical_facts
from sselib.materials.families import family_from_composition
from sselib.materials.lithium_sites import lithium_filling
from sselib.materials.oxidation import assign_oxidation_states
from sselib.materials.structures import sha256_of_text, structure_to_json
from sselib.prediction.scorer import SIGMA, Scorer
from sselib.progress import progress
from sselib.screening.candidate_pool import PROPOSED
from sselib.screening.candidates import Material
from sselib.screening.filters import is_intermetallic, is_known, open_d_shell_ions
from sselib.screening.material_properties import PropertyModels, material_properties
from sselib.screening.pareto import Objective, score_by_objectives
from sselib.screening.relaxation import relaxed
from sselib.sources import materials_project

_HULL = "energy_above_hull_ev_atom"
_DESCRIPTION = ("id", "formula", "source", "parent", "change", "probability", _HULL, "problem")
_SCORES = (*SIGMA, "sigma_model", "p_superionic", "p_superionic_sd")
_NEAREST = ("nearest_id", "nearest_formula", "nearest_log10_sigma", "d_composition", "in_domain")


def score_formulas(
    candidates: Iterable[Material],
    scorer: Scorer,
    *,
    parts: Path,
    chunk_size: int = 1000,
    novelty_tolerance: float = 0.05,
) -> pd.DataFrame:
    """Score every candidate from its formula and return the table, in the order of the candidates.

    Columns: id, formula, source, parent, change, probability, energy_above_hull_ev_atom (where a source
    gives it), problem, has_structure; scores and nearest training compound (`Scorer.score`), is_known
    (`sselib.screening.filters.is_known`), is_intermetallic, imbalance_per_atom, open_d_shell_ions, family;
    those of `sselib.materials.element_data.practical_facts`. Rows with a problem have no scores.

    Chunks are read from ``candidates`` as they are needed; each finished one is kept in ``parts`` under a
    hash of its candidates and of the saved models, so an interrupted screening goes on where it stopped.
    """
    tables = []
    for chunk in progress(_chunks(candidates, chunk_size), stage="scores by formula"):
        described = pd.DataFrame(
            [[*(getattr(c, k) for k in _DESCRIPTION), c.structure is not None] for c in chunk],
            columns=[*_DESCRIPTION, "has_structure"],
        )
        key = [scorer.sha256, novelty_tolerance, described]
        tables.append(kept_table(parts, key, partial(_by_formula, described, scorer, novelty_tolerance)))
    tables = [t for t in tables if t["problem"].eq("").any()] or tables  # one without scores lacks columns
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(_DESCRIPTION))


def _chunks(items: Iterable[Material], size: int) -> Iterator[list[Material]]:
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk


def _by_formula(described: pd.DataFrame, scorer: Scorer, novelty_tolerance: float) -> pd.DataFrame:
    good = described.index[described["problem"] == ""]
    formulas = described.loc[good, "formula"].tolist()
    if not formulas:
        return described
    scores = scorer.score(formulas)[[*_SCORES, "note", *_NEAREST]]
    fractions = element_fractions(formulas).to_numpy()
    scores["is_known"] = is_known(fractions, scorer.space.fractions, tolerance=novelty_tolerance)
    table = pd.concat([scores, _chemistry(formulas), practical_facts(formulas)], axis=1)
    return described.join(table.set_axis(good, axis=0))


def _chemistry(formulas: Sequence[str]) -> pd.DataFrame:
    assigned = [assign_oxidation_states(f) for f in formulas]
    return pd.DataFrame(
        {
            "is_intermetallic": [is_intermetallic(f) for f in formulas],
            "imbalance_per_atom": [a.imbalance_per_atom for a in assigned],
            "open_d_shell_ions": [open_d_shell_ions(a.states) for a in assigned],
            "family": [str(family_from_composition(f)) for f in formulas],
        }
    )


@dataclass(frozen=True)
class SecondPass:
    """Rows that go on to the second pass: ``ids``, best first; ``variant_of`` them, by the id left out."""

    ids: list[str]
    variant_of: dict[str, str]


def best_by_formula(
    table: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    n: int,
    at_most: Mapping[str, int],
    min_distance: float = 0.0,
) -> SecondPass:
    """Return the ``n`` best rows that have a structure and pass the filters on the formula.

    ``table`` is that of `sselib.screening.filters.apply_filters`. Ranked by the objectives that the table has
    (`rank_by_objectives`), ties by id. ``at_most`` limits how many share a value of a column, for example
    ``{"parent": 3, "family": 25}``, so that one good host or family does not fill the list; an empty
    value counts as its own. A proposal (`PROPOSED`) within ``min_distance`` (L1 of mole fractions) of a
    better one that was taken is a variant of it, and left out.
    """
    passed = table[table["has_structure"] & (table["problem"] == "") & table["kept"]]
    known = [o for o in objectives if o.column in table and passed[o.column].notna().any()]
    if passed.empty or not known:
        return SecondPass([], {})
    ranked = passed.assign(score=score_by_objectives(passed, known))
    ranked = ranked.sort_values(["score", "id"], ascending=[False, True]).reset_index(drop=True)
    return _taken(ranked, n=n, at_most=at_most, min_distance=min_distance)


def _taken(ranked: pd.DataFrame, *, n: int, at_most: Mapping[str, int], min_distance: float) -> SecondPass:
    """Go down the ranked rows and take those that the limits leave."""
    fractions = element_fractions(ranked["formula"].tolist()).to_numpy()
    proposed = ranked["source"].isin(PROPOSED).to_numpy()
    distance, nearest = np.full(len(ranked), np.inf), np.full(len(ranked), "", dtype=object)
    taken: Counter[tuple[str, str]] = Counter()
    chosen: list[str] = []
    variant_of: dict[str, str] = {}
    for k, row in enumerate(ranked.to_dict("records")):
        keys = [(column, row[column]) for column in at_most if row[column]]
        if proposed[k] and distance[k] < min_distance:
            variant_of[row["id"]] = nearest[k]
        elif len(chosen) < n and all(taken[key] < at_most[key[0]] for key in keys):
            taken.update(keys)
            chosen.append(row["id"])
            to_this = l1_distances(fractions[k : k + 1], fractions)[0]
            nearest[to_this < distance] = row["id"]
            distance = np.minimum(distance, to_this)
    return SecondPass(chosen, variant_of)


def score_structures(
    candidates: Iterable[Material],
    ids: Iterable[str],
    scorer: Scorer,
    properties: PropertyModels,
    *,
    parts: Path,
    chunk_size: int = 25,
    relax_steps: int = 0,
) -> pd.DataFrame:
    """Build and score the structures of the candidates named ``ids``; return one row for each.

    Columns: id; scores of the structure (`Scorer.score`) and structure_note; those of
    `sselib.screening.material_properties`; n_sites, lithium_filling (`sselib.materials.lithium_sites`),
    is_disordered, relaxation, structure_json. A structure that cannot be built has its reason in
    ``structure_note``. With ``relax_steps`` above 0 ordered structures are relaxed with CHGNet by up to that
    many steps first. Chunks are kept as in `score_formulas`, under the structures as they were built.
    """
    wanted = set(ids)
    chosen = (c for c in candidates if c.id in wanted)
    basis = [scorer.sha256, properties.names, properties.why_missing, relax_steps]
    tables = []
    for chunk in progress(_chunks(chosen, chunk_size), stage="scores by structure"):
        built, reasons = _built(chunk)
        key = [*basis, [(c.id, c.formula) for c in chunk], built, reasons]
        make = partial(_by_structure, chunk, built, reasons, scorer, properties, relax_steps)
        tables.append(kept_table(parts, key, make))
    return pd.concat(tables or [_by_structure([], {}, {}, scorer, properties, 0)], ignore_index=True)


def _built(chunk: Sequence[Material]) -> tuple[dict[str, Structure], dict[str, str]]:
    """Return the structures by id, and the reasons of those that cannot be built."""
    built, reasons = {}, {}
    for candidate in chunk:
        try:
            built[candidate.id] = candidate.structure()
        except Exception as error:  # whatever an odd structure raises is its reason
            reasons[candidate.id] = _no_structure(error)
    return built, reasons


def _no_structure(error: Exception) -> str:
    return f"no structure: {' '.join(str(error).split())[:200]}"


def _by_structure(
    chunk: Sequence[Material],
    built: Mapping[str, Structure],
    reasons: Mapping[str, str],
    scorer: Scorer,
    properties: PropertyModels,
    relax_steps: int,
) -> pd.DataFrame:
    crystals, said, notes = {}, {}, dict(reasons)
    for key, structure in built.items():
        try:
            crystals[key], said[key] = relaxed(structure, max_steps=relax_steps)
        except Exception as error:
            notes[key] = _no_structure(error)
    formulas = [c.formula for c in chunk if c.id in crystals]
    found = scorer.score(formulas, list(crystals.values())).set_axis(list(crystals), axis=0)
    table = found[[*_SCORES, "d_training", "note"]].rename(columns={"note": "structure_note"})
    table = table.join(material_properties(crystals, properties)).assign(
        n_sites=[float(len(s)) for s in crystals.values()],
        lithium_filling=[lithium_filling(s) for s in crystals.values()],
        is_disordered=pd.Series({k: not s.is_ordered for k, s in crystals.items()}, dtype="boolean"),
        relaxation=pd.Series(said, dtype=object),
        structure_json=pd.Series({k: structure_to_json(s) for k, s in crystals.items()}, dtype=object),
    )
    table = table.reindex([c.id for c in chunk])
    table["structure_note"] = table["structure_note"].fillna(pd.Series(notes, dtype=object))
    return table.rename_axis("id").reset_index()


_FIRST_PASS = {  # names of the first pass's scores beside those of the second
    "log10_sigma": "sigma_formula",
    "lower": "sigma_formula_lower",
    "upper": "sigma_formula_upper",
    "sigma_model": "sigma_formula_model",
    "p_superionic": "p_formula",
    "p_superionic_sd": "p_formula_sd",
}


def combine(by_formula: pd.DataFrame, by_structure: pd.DataFrame) -> pd.DataFrame:
    """Return one table: scores from the structure where it was scored, else from the formula.

    ``scored_from`` says which for p_superionic, ``sigma_model`` for log10_sigma, lower and upper;
    p_formula, p_formula_sd and sigma_formula with its ends keep the first pass.
    """
    scores = by_structure.drop(columns="structure_json")
    table = by_formula.rename(columns=_FIRST_PASS).merge(scores, on="id", how="left", validate="one_to_one")
    table["scored_from"] = np.where(table["p_superionic"].notna(), "structure", "formula")
    for name, first in _FIRST_PASS.items():
        table[name] = table[name].where(table[name].notna(), table[first])
    return table.drop(columns="sigma_formula_model")


def with_hull_energies(table: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    """Return the table with energies above the hull (eV/atom) of the rows ``ids``.

    Only where the Materials Project knows a material of the composition; values that are there stay. Raises
    `DataError` where the Materials Project cannot be asked.
    """
    rows = table[table["id"].isin(ids) & table[_HULL].isna()]
    found = materials_project.energies_above_hull(rows["formula"].tolist())
    energies = pd.Series(found[_HULL].to_numpy(float), index=rows.index)
    return table.assign(**{_HULL: table[_HULL].fillna(energies)})


def scored_structures(by_structure: pd.DataFrame) -> pd.DataFrame:
    """Return the structures of the second pass with the columns of `StructureTable`."""
    built = by_structure.dropna(subset="structure_json")
    texts = built["structure_json"].tolist()
    columns = {
        StructureTable.STRUCTURE_ID: built["id"].tolist(),
        StructureTable.STRUCTURE_JSON: texts,
        StructureTable.SOURCE: "screening",
        StructureTable.SHA256: [sha256_of_text(text) for text in texts],
        StructureTable.ORIGIN: built["relaxation"].tolist(),
    }
    return pd.DataFrame({str(name): values for name, values in columns.items()})


def composition_error(structure: Structure, formula: str) -> float:
    """Return the L1 distance of the mole fractions of a structure and of a formula, 0 to 2."""
    found = structure.composition.element_composition.formula
    first, second = element_fractions([found, formula]).to_numpy()
    return float(l1_distances(first[None], second[None]).item())
