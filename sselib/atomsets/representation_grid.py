"""Which parent, which layer and which representation: one small model on each, on the same folds.

The counterpart of McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a, Figs. 3 and 5:
they train AtomSets on V0 to V3 of CAMN, CAN, CAMNS and CANS. Here logistic regression on mean and standard
deviation over the sites judges every case, because a fit takes milliseconds and its settings are fixed; a few
cases are trained with AtomSets as well. Every case predicts the same rows as the controls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from pymatgen.core import Structure

from sselib.atomsets.classification import classification_records
from sselib.atomsets.classifiers import CONTROLS, ClassifierSettings, Inputs, class_splits
from sselib.atomsets.held_out import class_predictions
from sselib.columns import ClassPrediction as C
from sselib.columns import Entry
from sselib.errors import DataError, ParameterError
from sselib.features.representations import Representation
from sselib.features.site_features import SiteSet, layer_columns, layer_names, pooled, site_sets
from sselib.validation.clusters import Clusters

PROTOCOLS: tuple[str, ...] = ("kfold5", "loco")
COLUMNS: tuple[str, ...] = (
    "model",
    "parent",
    "representation",
    "layer",
    "protocol",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
)
PARENT_NAMES: Mapping[str, str] = {"formation_energy": "MEGNet", "chgnet": "CHGNet"}
REPRESENTATIONS: tuple[str, ...] = tuple(kind.value for kind in Representation)


@dataclass(frozen=True, order=True)
class Case:
    """One set of site features: a parent, one of its layers, a representation."""

    parent: str
    representation: str
    layer: str

    @property
    def name(self) -> str:
        """Name as a feature set, e.g. ``formation_energy V1 CAMN``."""
        return f"{self.parent} {self.layer} {self.representation}"


def grid_cases(parents: Sequence[str], representations: Sequence[str]) -> list[Case]:
    """Return every layer of every parent in every representation; occupancies are no layer of theirs.

    Raises `ParameterError` for a representation that is none of `REPRESENTATIONS`.
    """
    unknown = sorted(set(representations) - set(REPRESENTATIONS))
    if unknown:
        raise ParameterError(
            f"representations {', '.join(unknown)}: expected some of {', '.join(REPRESENTATIONS)}"
        )
    return [
        Case(parent, representation, layer)
        for parent in parents
        if parent
        for representation in representations
        for layer in layer_names(parent)
        if layer != "occupancy"
    ]


@dataclass(frozen=True)
class GridInputs:
    """``inputs``: rows that every case can use, a site set and a matrix per case; ``rejects``: id, reason."""

    inputs: Inputs
    cases: tuple[Case, ...]
    rejects: pd.DataFrame


def grid_inputs(
    inputs: Inputs, structures: Mapping[str, Structure], cases: Sequence[Case], *, n_jobs: int = 1
) -> GridInputs:
    """Return what the models of the grid see; rows that one case cannot use are left out for all.

    ``inputs`` are those of the other models, ``structures`` by row id. Raises `DataError` where no case is
    given or the weights of a parent cannot be had.
    """
    if not cases:
        raise DataError("the comparison of representations has no case: name a parent and a representation")
    wanted = {i: structures[i] for i in inputs.table[Entry.ID]}
    pairs = list(dict.fromkeys((c.parent, c.representation) for c in cases))
    found = {
        pair: site_sets(
            wanted,
            parent=pair[0],
            representation=pair[1],
            layers=layer_names(pair[0]),
            n_jobs=n_jobs,
        )
        for pair in pairs
    }
    rejects = pd.concat(
        [
            f.rejects.assign(reason=f"{' '.join(of)}: " + f.rejects["reason"].astype(str))
            for of, f in found.items()
        ]
    ).drop_duplicates("id", ignore_index=True)
    kept = ~inputs.table[Entry.ID].isin(rejects["id"]).to_numpy()
    ids = list(inputs.table.loc[kept, Entry.ID])
    sets = {c.name: [_of_layer(found[c.parent, c.representation].sets[i], c) for i in ids] for c in cases}
    own = replace(
        inputs,
        table=inputs.table[kept].reset_index(drop=True),
        y=inputs.y[kept],
        matrices={name: values[kept] for name, values in inputs.matrices.items()}
        | {name: pooled(rows) for name, rows in sets.items()},
        sets=sets,
        duplicates=inputs.duplicates[kept],
        unpaired=None,  # no model of the grid learns from rows without a structure
    )
    return GridInputs(own, tuple(cases), rejects)


def _of_layer(sites: SiteSet, case: Case) -> SiteSet:
    """Return the columns of one layer from a set that holds all layers side by side."""
    return replace(sites, features=sites.features[:, layer_columns(case.parent)[case.layer]])


@dataclass(frozen=True)
class Comparison:
    """``table`` of `grid_table`, empty where nothing was compared; ``rejects``: id, reason; ``why_not``."""

    table: pd.DataFrame
    rejects: pd.DataFrame
    why_not: str = ""

    def sentence(self) -> str:
        """Say what the comparison found, one line per protocol."""
        if self.table.empty:
            return f"Nothing was compared: {self.why_not}."
        lines = [grid_sentence(self.table, protocol=p) for p in dict.fromkeys(self.table["protocol"])]
        return "\n".join(f"- {line}" for line in lines)

    def wide(self, metric: str) -> pd.DataFrame:
        """Return one row per case and one column per protocol: value and 95 % interval as text."""
        rows = self.table[self.table["metric"] == metric] if len(self.table) else self.table
        if rows.empty:
            return pd.DataFrame()
        text = [f"{v:.2f} [{a:.2f}, {b:.2f}]" for v, a, b in rows[["value", "ci_low", "ci_high"]].to_numpy()]
        index = ["model", "parent", "representation", "layer"]
        named = rows.assign(text=text, parent=rows["parent"].replace(PARENT_NAMES))
        return named.pivot_table(index=index, columns="protocol", values="text", aggfunc="first", sort=False)


def compare_representations(
    inputs: Inputs,
    structures: Mapping[str, Structure],
    *,
    parents: Sequence[str],
    representations: Sequence[str],
    network_layers: Sequence[str] = (),
    clusters: Mapping[int, Clusters],
    dataset: str,
    settings: ClassifierSettings,
    n_members: int = 1,
    parts: Path | None = None,
    n_bootstrap: int = 1000,
) -> Comparison:
    """Return AUC-PR and MCC under ``kfold5`` and ``loco`` of every layer of every parent and representation.

    Logistic regression on pooled site features judges every case, AtomSets those of ``network_layers`` too
    (``n_members`` networks a split, whatever ``settings`` say); the controls predict the same rows.
    ``clusters`` by seed of the map, of the rows of ``inputs``. Without site features in ``inputs`` nothing is
    compared.
    """
    cases = grid_cases(parents, representations)
    if not cases or not inputs.sets:
        why = "no representation is named" if inputs.sets else "there is no parent model"
        return Comparison(pd.DataFrame(columns=list(COLUMNS)), pd.DataFrame(columns=["id", "reason"]), why)
    settings = replace(settings, n_members=n_members)
    grid = grid_inputs(inputs, structures, cases, n_jobs=settings.n_jobs)
    kept = inputs.table[Entry.ID].isin(grid.inputs.table[Entry.ID]).to_numpy()
    own = {seed: Clusters(c.labels[kept], c.coordinates[kept]) for seed, c in clusters.items()}
    splits = class_splits(PROTOCOLS, grid.inputs, clusters=own, seed=settings.seed)
    models = [f"logistic/{case.name}" for case in cases]
    models += [f"atomsets/{case.name}" for case in cases if case.layer in network_layers]
    found = class_predictions(
        grid.inputs, splits, models=models, dataset=dataset, settings=settings, parts=parts
    )
    records = classification_records(found, controls=CONTROLS, n_bootstrap=n_bootstrap, seed=settings.seed)
    return Comparison(grid_table(records, cases), grid.rejects)


def grid_table(records: Sequence[Mapping[str, object]], cases: Sequence[Case]) -> pd.DataFrame:
    """Return one row per model, case, protocol and metric with value, interval and the parts of the case.

    The columns are `COLUMNS`. Controls have an empty parent, representation and layer.
    """
    by_name = {case.name: case for case in cases}
    rows = pd.DataFrame(records)
    rows = rows[rows["metric"].isin(["auc_pr", "mcc"])]
    for part in ("parent", "representation", "layer"):
        rows[part] = [getattr(by_name.get(f), part, "") for f in rows[C.FEATURES]]
    return rows[list(COLUMNS)].reset_index(drop=True)


def grid_sentence(table: pd.DataFrame, *, protocol: str, metric: str = "auc_pr") -> str:
    """Return in words which layer, representation and parent score best, and the best control."""
    rows = table[(table["protocol"] == protocol) & (table["metric"] == metric)]
    rows = rows.assign(parent=rows["parent"].replace(PARENT_NAMES))
    own, controls = rows[(rows["parent"] != "") & (rows["model"] == "logistic")], rows[rows["parent"] == ""]
    if own.empty or controls.empty:
        return f"`{protocol}` is not part of this comparison."
    best, control = own.loc[own["value"].idxmax()], controls.loc[controls["value"].idxmax()]
    above = own[own["ci_low"] > control["value"]]
    means = {by: own.groupby(by)["value"].mean() for by in ("parent", "representation", "layer")}
    parts = "; ".join(
        f"by {by}: " + ", ".join(f"{k} {v:.2f}" for k, v in m.items())
        for by, m in means.items()
        if len(m) > 1
    )
    return (
        f"`{protocol}`: best {best['parent']} {best['layer']} on {best['representation']}, "
        f"{best['value']:.2f} [{best['ci_low']:.2f}, {best['ci_high']:.2f}], best control "
        f"`{control['model']}` {control['value']:.2f}; the interval of {len(above)} of {len(own)} "
        f"cases lies above it. Means {parts}."
    )
