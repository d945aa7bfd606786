"""Which layer of MEGNet and which representation: one small model on each, on the same folds.

The counterpart of McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a, Figs. 3 and 5:
they train AtomSets on V0 to V3 of CAMN, CAN, CAMNS and CANS. Here logistic regression on mean and standard
deviation over the sites judges every case, because a fit takes milliseconds and its settings are fixed; some
layers are trained with AtomSets as well. Every case predicts the same rows as the controls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Structure

from sselib.atomsets.classification import classification_records
from sselib.atomsets.classifiers import (
    ATOMSETS,
    Classifier,
    ClassifierInputs,
    ClassifierSettings,
    class_splits,
)
from sselib.atomsets.held_out import class_predictions
from sselib.columns import ClassPrediction as C
from sselib.columns import Entry
from sselib.errors import DataError, ParameterError
from sselib.features.representations import Representation
from sselib.features.site_features import SiteSet, named_site_sets, pooled
from sselib.validation.clusters import Clusters

PROTOCOLS: tuple[str, ...] = ("kfold5", "loco")
LAYERS: tuple[str, ...] = ("V0", "V1", "V2", "V3")
REPRESENTATIONS: tuple[str, ...] = tuple(kind.value for kind in Representation)
COLUMNS = ("model", "representation", "layer", "protocol", "metric", "value", "ci_low", "ci_high", "n")


@dataclass(frozen=True)
class RepresentationComparison:
    """``table`` with `COLUMNS`, empty where nothing was compared; ``rejects``: id, reason.

    Controls have an empty representation and layer.
    """

    table: pd.DataFrame
    rejects: pd.DataFrame

    def wide(self, metric: str) -> pd.DataFrame:
        """Return one row per case and one column per protocol: value and 95 % interval as text."""
        rows = self.table[self.table["metric"] == metric] if len(self.table) else self.table
        if rows.empty:
            return pd.DataFrame()
        text = [f"{v:.2f} [{a:.2f}, {b:.2f}]" for v, a, b in rows[["value", "ci_low", "ci_high"]].to_numpy()]
        index = ["model", "representation", "layer"]
        return rows.assign(text=text).pivot_table(
            index=index, columns="protocol", values="text", aggfunc="first", sort=False
        )

    def sentence(self, *, protocol: str = "loco", metric: str = "auc_pr") -> str:
        """Say which layer and representation score best under a protocol, and the best control."""
        rows = self.table[(self.table["protocol"] == protocol) & (self.table["metric"] == metric)]
        own, controls = rows[rows["layer"] != ""], rows[rows["layer"] == ""]
        if own.empty or controls.empty:
            return "Layers and representations were not compared (no parent model, or none named)."
        best, control = own.loc[own["value"].idxmax()], controls.loc[controls["value"].idxmax()]
        above = (own["ci_low"] > control["value"]).sum()
        return (
            f"On unseen clusters the best of {len(own)} cases is {best['model']} on {best['layer']} of "
            f"{best['representation']}, AUC-PR {best['value']:.2f} [{best['ci_low']:.2f}, "
            f"{best['ci_high']:.2f}], the best control {control['model']} {control['value']:.2f}; the "
            f"intervals of {above} cases lie above it."
        )


def compare_representations(
    inputs: ClassifierInputs,
    structures: Mapping[str, Structure],
    *,
    parent: str,
    representations: Sequence[str],
    network_layers: Sequence[str] = (),
    clusters: Mapping[int, Clusters],
    dataset: str,
    settings: ClassifierSettings,
    parts: Path | None = None,
    n_bootstrap: int = 1000,
) -> RepresentationComparison:
    """Return AUC-PR and MCC under ``kfold5`` and ``loco`` of every layer of every representation.

    Logistic regression judges every case, AtomSets those of ``network_layers`` too. ``clusters`` by seed of
    the map, of the rows of ``inputs``. Without a parent or a representation nothing is compared. Raises
    `ParameterError` for an unknown representation or layer.
    """
    _require_known(representations, REPRESENTATIONS)
    _require_known(network_layers, LAYERS)
    if not parent or not representations:
        rejects = pd.DataFrame(columns=["id", "reason"])
        return RepresentationComparison(pd.DataFrame(columns=list(COLUMNS)), rejects)
    own, rejects = _grid_inputs(inputs, structures, parent, representations, settings.n_jobs)
    kept = inputs.table[Entry.ID].isin(own.table[Entry.ID]).to_numpy()
    maps = {seed: Clusters(c.labels[kept], c.coordinates[kept]) for seed, c in clusters.items()}
    splits = class_splits(PROTOCOLS, own, clusters=maps, seed=settings.seed)
    models = [Classifier("logistic regression", name) for name in own.sets]
    models += [Classifier(ATOMSETS, name) for name in own.sets if name.split()[1] in network_layers]
    found = class_predictions(own, splits, models=models, dataset=dataset, settings=settings, parts=parts)
    records = classification_records(found.predictions, n_bootstrap=n_bootstrap, seed=settings.seed)
    rows = pd.DataFrame(records)
    rows = rows[rows["metric"].isin(["auc_pr", "mcc"])].reset_index(drop=True)
    of_grid = rows[C.FEATURES].isin(list(own.sets))
    names = rows[C.FEATURES].where(of_grid, " ").str.split(" ")
    table = rows.assign(representation=names.str[0], layer=names.str[1])
    return RepresentationComparison(table[list(COLUMNS)], rejects)


def _require_known(names: Sequence[str], known: Sequence[str]) -> None:
    if unknown := sorted(set(names) - set(known)):
        raise ParameterError(f"{', '.join(unknown)}: expected some of {', '.join(known)}")


def _grid_inputs(
    inputs: ClassifierInputs,
    structures: Mapping[str, Structure],
    parent: str,
    representations: Sequence[str],
    n_jobs: int,
) -> tuple[ClassifierInputs, pd.DataFrame]:
    """Return the rows that every case can use, with a site set and a matrix per case, and rejects."""
    ids = list(inputs.table[Entry.ID])
    crystals, layers = {i: structures[i] for i in ids}, {layer: (layer,) for layer in LAYERS}
    found = {
        f"{r} {layer}": sets
        for r in representations
        for layer, sets in named_site_sets(
            crystals, layers, parent=parent, representation=r, n_jobs=n_jobs
        ).items()
    }
    rejects = pd.concat([f.rejects for f in found.values()]).drop_duplicates("id", ignore_index=True)
    kept = np.flatnonzero(~inputs.table[Entry.ID].isin(rejects["id"]))
    if len(set(inputs.y[kept])) < 2:
        raise DataError(f"{len(kept)} rows have site features in every representation: one class is missing")
    sets: dict[str, list[SiteSet]] = {name: [f.sets[ids[k]] for k in kept] for name, f in found.items()}
    matrices = {name: values[kept] for name, values in inputs.matrices.items()}
    own = replace(
        inputs,
        table=inputs.table.iloc[kept].reset_index(drop=True),
        y=inputs.y[kept],
        matrices=matrices | {name: pooled(rows) for name, rows in sets.items()},
        sets=sets,
        duplicates=inputs.duplicates[kept],
        unpaired=None,  # no model of the grid learns from rows without a structure
    )
    return own, rejects
