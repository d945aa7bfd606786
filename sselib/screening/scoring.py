"""Screening: a stream of candidates is scored in chunks, each kept in a file, so that it can be resumed.

Two passes. The first scores every candidate from its formula (milliseconds each). The second builds the
structures of the best and scores those (a tenth of a second each), because most of the time of a screening
would otherwise go into materials that the first pass has already ranked low. Source of the scores and
filters: McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a, section 2.4.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from pymatgen.core import Structure

from sselib.atomsets.superionic_model import SuperionicModel, load_superionic_model
from sselib.columns import Entry, StructureTable
from sselib.errors import RunError
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.element_data import practical_facts
from sselib.materials.families import family_from_composition
from sselib.materials.lithium_sites import lithium_filling
from sselib.materials.oxidation import assign_oxidation_states
from sselib.materials.structures import sha256_of_text, structure_from_json, structure_to_json
from sselib.prediction.predict import robust
from sselib.progress import progress
from sselib.regression.conductivity_model import ConductivityModel, load_conductivity_model
from sselib.runfolder import write_whole
from sselib.screening.candidate_pool import PROPOSED
from sselib.screening.candidates import Candidate
from sselib.screening.filters import is_intermetallic, is_known, open_d_shell_ions
from sselib.screening.material_properties import PropertyModels, load_property_models, material_properties
from sselib.screening.pareto import Objective, score_by_objectives
from sselib.screening.relaxation import relaxed
from sselib.sources import materials_project

_HULL = "energy_above_hull_ev_atom"
COSTS = "formula_costs.json"
_SIGMA = ("log10_sigma", "lower", "upper")
_DESCRIPTION = ("id", "formula", "source", "parent", "change", "probability", _HULL, "problem")


@dataclass(frozen=True)
class ScreeningModels:
    """What gives the scores: conductivity of a formula, probability of superionic, MEGNet properties.

    ``structure_conductivity`` is None where the run has no conductivity model that reads structures.
    """

    conductivity: ConductivityModel
    superionic: SuperionicModel
    properties: PropertyModels
    structure_conductivity: ConductivityModel | None = None

    def describe(self) -> str:
        """Return in words which models there are and on how much they were trained."""
        rows = self.conductivity.training
        from_structure = (
            f"and `{self.structure_conductivity.name}` for structures"
            if self.structure_conductivity
            else "for structures too (this run has no model that reads them)"
        )
        return (
            f"Conductivity: `{self.conductivity.name}`, {len(rows)} materials, {from_structure}. "
            f"Superionic: a Gaussian process, {len(self.superionic.training)} materials. MEGNet: "
            f"{self.properties.why_missing or f'{len(self.properties.gaps)} band-gap models'}."
        )


def load_models(run: Path, *, n_gap_models: int) -> ScreeningModels:
    """Return the models of a run folder (notebooks 04 and 06) and the published MEGNet models.

    Raises `RunError` where 04 or 06 left none.
    """
    try:
        from_structure = load_conductivity_model(run, inputs="structure")
    except RunError:
        from_structure = None
    return ScreeningModels(
        load_conductivity_model(run),
        load_superionic_model(run),
        load_property_models(n_gap_models=n_gap_models),
        from_structure,
    )


def structure_conductivities(
    structures: Sequence[Structure], models: ScreeningModels, *, confidence: float = 0.9
) -> pd.DataFrame:
    """Return log10_sigma, lower, upper in log10(S/cm) and sigma_model for structures, one row each.

    Missing where the run has no conductivity model that reads structures, or it cannot read this one.
    """
    model = models.structure_conductivity
    if model is None or not structures:
        return pd.DataFrame(np.nan, range(len(structures)), [*_SIGMA, "sigma_model"]).astype(
            {"sigma_model": object}
        )
    formulas = [s.composition.element_composition.formula.replace(" ", "") for s in structures]

    def predicted(rows: Sequence[int]) -> pd.DataFrame:
        """Return the predictions of some of the candidates."""
        given = [formulas[k] for k in rows], [structures[k] for k in rows]
        return model.predict(given[0], structures=given[1], confidence=confidence)

    found, _ = robust(predicted, range(len(formulas)), list(_SIGMA))
    return found.assign(sigma_model=np.where(found["log10_sigma"].notna(), model.name, None))


@dataclass(frozen=True)
class Training:
    """Compositions that the models were trained on, with what was measured.

    ``table``: id, formula, composition, log10_sigma, censored; ``fractions`` (m, elements) in the same order.
    """

    table: pd.DataFrame
    fractions: np.ndarray


def training_of(models: ScreeningModels, curated: pd.DataFrame) -> Training:
    """Return the rows of the curated table that either model was trained on."""
    ids = {*models.conductivity.training[Entry.ID], *models.superionic.training[Entry.ID]}
    rows = curated[curated[Entry.ID].isin(ids)].reset_index(drop=True)
    columns = [Entry.ID, Entry.FORMULA, Entry.COMPOSITION, Entry.LOG10_SIGMA, Entry.CENSORED]
    return Training(rows[columns], element_fractions(list(rows[Entry.COMPOSITION])).to_numpy())


def score_formulas(
    candidates: Iterable[Candidate],
    models: ScreeningModels,
    training: Training,
    *,
    parts: Path,
    chunk_size: int = 1000,
    novelty_tolerance: float = 0.05,
    confidence: float = 0.9,
) -> pd.DataFrame:
    """Score every candidate from its formula and return the table, in the order of the candidates.

    Columns: id, formula, source, parent, change, probability, energy_above_hull_ev_atom (where a source
    gives it), problem, has_structure; log10_sigma, lower, upper in log10(S/cm) with the interval of
    ``confidence``, and sigma_model; p_superionic, p_superionic_sd (of the blend);
    nearest_id, nearest_formula, nearest_log10_sigma and d_composition (L1, 0 to 2) of the nearest training
    composition; is_known, is_intermetallic, imbalance_per_atom, open_d_shell_ions, family; the columns of
    `sselib.materials.element_data.practical_facts`. Rows with a problem have no scores.

    Chunks are read from ``candidates`` as they are needed; each finished one is a file in ``parts`` under
    a hash of its candidates and of the models, so an interrupted screening goes on where it stopped.
    """
    identity = [_identity(models), novelty_tolerance, confidence]
    paths, costs, before = [], [], time.process_time()
    for chunk in progress(_chunks(candidates, chunk_size), stage="scores by formula"):
        path = parts / f"formula-{_digest(chunk, identity)}.parquet"
        if not path.is_file():
            table = _formula_scores(chunk, models, training, novelty_tolerance, confidence)
            _write_cost(path, n=len(chunk), cpu_s=time.process_time() - before)
            write_whole(path, lambda p, t=table: t.to_parquet(p, index=False))
        paths.append(path)
        costs.append(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
        before = time.process_time()
    write_whole(parts / COSTS, lambda p: p.write_text(json.dumps(costs), encoding="utf-8"))
    return _joined(paths)


def _write_cost(part: Path, *, n: int, cpu_s: float) -> None:
    """Write beside a part what it cost: processor time and the memory that the process holds after it."""
    memory_mib = psutil.Process().memory_info().rss / 2**20
    cost = {"candidates": n, "cpu_s": round(cpu_s, 3), "memory_mib": round(memory_mib, 1)}
    write_whole(part.with_suffix(".json"), lambda p: p.write_text(json.dumps(cost), encoding="utf-8"))


def formula_costs(parts: Path) -> pd.DataFrame:
    """Return what the chunks of the last `score_formulas` cost when they were scored, in order.

    Columns: candidates and cpu_s, both summed up to the end of the chunk (candidates made, scored and
    written), and memory_mib, what the process held then.
    """
    costs = pd.DataFrame(json.loads((parts / COSTS).read_text(encoding="utf-8")))
    return costs.assign(candidates=costs["candidates"].cumsum(), cpu_s=costs["cpu_s"].cumsum())


def _chunks(items: Iterable[Candidate], size: int) -> Iterator[list[Candidate]]:
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk


def _identity(models: ScreeningModels) -> str:
    """Return a text that changes with the models' names and training rows."""
    rows = [models.conductivity.training, models.superionic.training]
    digests = [hashlib.sha256(t.to_json().encode()).hexdigest() for t in rows]
    sizes = [len(models.properties.gaps)]
    names = [models.conductivity.name, getattr(models.structure_conductivity, "name", "")]
    return json.dumps([*names, *digests, *sizes, Path(__file__).read_text(encoding="utf-8")])


def _digest(chunk: Sequence[Candidate], identity: Sequence[object]) -> str:
    described = [(c.id, c.formula, c.change, c.problem) for c in chunk]
    return hashlib.sha256(json.dumps([described, list(identity)]).encode()).hexdigest()[:16]


def _joined(paths: Sequence[Path]) -> pd.DataFrame:
    """Return the parts as one table; empty text columns of a part do not change the types."""
    tables = [pd.read_parquet(path) for path in paths]
    tables = [t for t in tables if len(t)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(_DESCRIPTION))


def _formula_scores(
    chunk: Sequence[Candidate],
    models: ScreeningModels,
    training: Training,
    novelty_tolerance: float,
    confidence: float,
) -> pd.DataFrame:
    described = pd.DataFrame(
        [[getattr(c, k) for k in _DESCRIPTION] for c in chunk], columns=list(_DESCRIPTION)
    )
    described["has_structure"] = [c.structure is not None for c in chunk]
    good = described.index[described["problem"] == ""]
    formulas = described.loc[good, "formula"].tolist()
    if not formulas:
        return described
    conductivity = models.conductivity.predict(formulas, confidence=confidence)
    superionic = models.superionic.predict_formulas(formulas)[["p_superionic", "p_superionic_sd", "note"]]
    conductivity = conductivity[list(_SIGMA)].assign(sigma_model=models.conductivity.name)
    scores = [conductivity, superionic, _novelty(formulas, training, novelty_tolerance), _chemistry(formulas)]
    table = pd.concat([*scores, practical_facts(formulas)], axis=1).set_axis(good, axis=0)
    return described.join(table)


def _novelty(formulas: Sequence[str], training: Training, tolerance: float) -> pd.DataFrame:
    """Return the nearest training composition of each formula and whether it is the same within 5 %."""
    fractions = element_fractions(formulas).to_numpy()
    distance = l1_distances(fractions, training.fractions)
    nearest = distance.argmin(axis=1)
    rows = training.table.iloc[nearest]
    return pd.DataFrame(
        {
            "nearest_id": rows[Entry.ID].to_numpy(),
            "nearest_formula": rows[Entry.FORMULA].to_numpy(),
            "nearest_log10_sigma": rows[Entry.LOG10_SIGMA].to_numpy(),
            "d_composition": distance[np.arange(len(nearest)), nearest],
            "is_known": is_known(fractions, training.fractions, tolerance=tolerance),
        }
    )


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
class Best:
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
) -> Best:
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
        return Best([], {})
    ranked = passed.assign(score=score_by_objectives(passed, known))
    ranked = ranked.sort_values(["score", "id"], ascending=[False, True]).reset_index(drop=True)
    return _taken(ranked, n=n, at_most=at_most, min_distance=min_distance)


def _taken(ranked: pd.DataFrame, *, n: int, at_most: Mapping[str, int], min_distance: float) -> Best:
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
    return Best(chosen, variant_of)


def score_structures(
    candidates: Iterable[Candidate],
    ids: Iterable[str],
    models: ScreeningModels,
    *,
    parts: Path,
    chunk_size: int = 25,
    relax_steps: int = 0,
    confidence: float = 0.9,
) -> pd.DataFrame:
    """Build and score the structures of the candidates named ``ids``; return one row for each.

    Columns: id; p_structure, p_structure_sd, d_training and structure_note (of the superionic model);
    sigma_structure, its _lower, _upper and _model (`structure_conductivities`); those of
    `sselib.screening.material_properties`; n_sites, lithium_filling (`sselib.materials.lithium_sites`),
    is_disordered, relaxation, structure_json. A structure that cannot be built has its reason in
    ``structure_note``. With ``relax_steps`` above 0 ordered structures are relaxed with CHGNet by up to that
    many steps first. Chunks resume as in `score_formulas`.
    """
    wanted = set(ids)
    chosen = (c for c in candidates if c.id in wanted)
    identity = [_identity(models), relax_steps, confidence]
    paths = []
    for chunk in progress(_chunks(chosen, chunk_size), stage="scores by structure"):
        path = parts / f"structure-{_digest(chunk, identity)}.parquet"
        if not path.is_file():
            table = _structure_scores(chunk, models, relax_steps, confidence)
            write_whole(path, lambda p, t=table: t.to_parquet(p, index=False))
        paths.append(path)
    tables = [pd.read_parquet(path) for path in paths] or [
        _structure_scores([], models, relax_steps, confidence)
    ]
    return pd.concat(tables, ignore_index=True)


def _structure_scores(
    chunk: Sequence[Candidate], models: ScreeningModels, relax_steps: int, confidence: float
) -> pd.DataFrame:
    built, notes, relaxation = {}, {}, {}
    for candidate in chunk:
        try:
            crystal = candidate.structure()
            built[candidate.id], relaxation[candidate.id] = relaxed(crystal, max_steps=relax_steps)
        except Exception as error:  # whatever an odd structure raises is its reason
            notes[candidate.id] = f"no structure: {' '.join(str(error).split())[:200]}"
    scores = _superionic_scores(built, models.superionic).join(material_properties(built, models.properties))
    sigma = structure_conductivities(list(built.values()), models, confidence=confidence)
    scores = scores.join(sigma.rename(columns=_OF_STRUCTURE).set_axis(list(built), axis=0))
    scores["n_sites"] = [float(len(s)) for s in built.values()]
    scores["lithium_filling"] = [lithium_filling(s) for s in built.values()]
    scores["is_disordered"] = pd.Series(
        [not s.is_ordered for s in built.values()], scores.index, dtype="boolean"
    )
    scores["relaxation"] = pd.Series(relaxation, dtype=object)
    scores["structure_json"] = pd.Series({k: structure_to_json(s) for k, s in built.items()}, dtype=object)
    scores = scores.reindex([c.id for c in chunk])
    scores["structure_note"] = scores["structure_note"].fillna(pd.Series(notes, dtype=object))
    return scores.rename_axis("id").reset_index()


_OF_STRUCTURE = {
    "log10_sigma": "sigma_structure",
    "lower": "sigma_structure_lower",
    "upper": "sigma_structure_upper",
    "sigma_model": "sigma_structure_model",
}
_OF_FORMULA = {"log10_sigma": "sigma_formula", "lower": "sigma_formula_lower", "upper": "sigma_formula_upper"}


def _superionic_scores(structures: dict[str, Structure], model: SuperionicModel) -> pd.DataFrame:
    found = model.predict_structures(list(structures.values())).set_axis(list(structures), axis=0)
    found = found.drop(columns="threshold")
    names = {"p_superionic": "p_structure", "p_superionic_sd": "p_structure_sd", "note": "structure_note"}
    return found.rename(columns=names)


def combine(by_formula: pd.DataFrame, by_structure: pd.DataFrame) -> pd.DataFrame:
    """Return one table: scores from the structure where it was scored, else from the formula.

    ``scored_from`` says which for p_superionic, ``sigma_model`` for log10_sigma, lower and upper;
    p_formula, p_formula_sd and sigma_formula with its ends keep the first pass.
    """
    first = {"p_superionic": "p_formula", "p_superionic_sd": "p_formula_sd", **_OF_FORMULA}
    scores = by_structure.drop(columns="structure_json")
    table = by_formula.rename(columns=first).merge(scores, on="id", how="left", validate="one_to_one")
    has, has_sigma = table["p_structure"].notna(), table["sigma_structure"].notna()
    sigma = {
        name: table[_OF_STRUCTURE[name]].where(has_sigma, table[_OF_FORMULA.get(name, name)])
        for name in _OF_STRUCTURE
    }
    return table.assign(
        p_superionic=table["p_structure"].where(has, table["p_formula"]),
        p_superionic_sd=table["p_structure_sd"].where(has, table["p_formula_sd"]),
        **sigma,
        scored_from=np.where(has, "structure", "formula"),
    ).drop(columns=list(_OF_STRUCTURE.values()))


def with_hull_energies(table: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    """Return the table with energies above the hull (eV/atom) of the rows ``ids``.

    Only where the Materials Project knows a material of the composition; values that are there stay. Raises
    `DataError` where the Materials Project cannot be asked.
    """
    rows = table[table["id"].isin(ids) & table[_HULL].isna()]
    found = materials_project.energies_above_hull(rows["formula"].tolist())
    energies = pd.Series(found[_HULL].to_numpy(float), index=rows.index)
    return table.assign(**{_HULL: table[_HULL].fillna(energies)})


def structure_table(by_structure: pd.DataFrame) -> pd.DataFrame:
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


def composition_error(structure_json: str, formula: str) -> float:
    """Return the L1 distance of the mole fractions of a structure and of a formula, 0 to 2."""
    found = structure_from_json(structure_json).composition.element_composition.formula
    first, second = element_fractions([found, formula]).to_numpy()
    return float(l1_distances(first[None], second[None]).item())
