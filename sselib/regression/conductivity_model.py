"""The trained models that predict the room-temperature conductivity, with its interval.

One reads formulas alone, one the structure too. Notebook 04 trains and saves them;
`load_conductivity_model` gives them back in a second.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
import skops.io
from pymatgen.core import Structure

from sselib.columns import Curated, Entry
from sselib.errors import DataError, FormulaError, ParameterError, RunError
from sselib.features.formula import FORMULA_COLUMNS, formula_features
from sselib.features.structure import STRUCTURE_COLUMNS, structure_features
from sselib.materials.composition import parse_formula
from sselib.provenance import as_recorded
from sselib.regression.models import DEFAULT_OPTIONS, ModelOptions
from sselib.regression.routed import RoutedModel
from sselib.runfolder import write_whole
from sselib.validation.splits import row_groups

INPUTS: tuple[str, ...] = ("formula", "structure")
NOTEBOOK = "04_gbr_shap"
TRAINING_COLUMNS = [Entry.ID, Entry.FORMULA, Entry.LOG10_SIGMA, Entry.CENSORED, Curated.FAMILY]
_COLUMNS = ["log10_sigma", "lower", "upper"]
_CHUNK = 4000  # formulas featurised at a time
# What a saved model may consist of beside what skops trusts by itself; anything else is refused.
_TRUSTED = [
    "builtins.frozenset",
    "numpy.dtype",
    "scipy.sparse._csr.csr_array",
    "sklearn.tree._tree.Tree",
    "sselib.regression.conformal.IntervalCalibration",
    "sselib.regression.gaussian_process.CompositionGP",
    "sselib.regression.median_forest.MedianForest",
    "sselib.regression.routed.RoutedModel",
]
_BACKGROUND = 8  # training materials that stand for "this feature is not known" in `explain`


@dataclass(frozen=True)
class ConductivityModel:
    """A trained model; ``training`` has one row per training material (see `TRAINING_COLUMNS`).

    One whose ``inputs`` are "structure" leaves rows without a structure to ``fallback``, a formula model.
    """

    name: str
    inputs: str
    training: pd.DataFrame
    estimator: RoutedModel
    background: np.ndarray  # features of a few training rows, shape (b, f)
    fallback: "ConductivityModel | None" = None

    def predict(
        self,
        formulas: Sequence[str],
        *,
        structures: Sequence[Structure | None] | None = None,
        confidence: float = 0.9,
    ) -> pd.DataFrame:
        """Return log10_sigma, lower, upper in log10(S/cm) at room temperature, one row per formula.

        The interval shall cover the measured value with probability ``confidence``
        (`sselib.regression.conformal`). A row is NaN where the formula cannot be read or holds no lithium.
        ``structures`` matter only to a model whose inputs are "structure". Raises `ParameterError` for a
        confidence outside (0, 1).
        """
        if not 0 < confidence < 1:
            raise ParameterError(f"confidence {confidence} is no probability: expected between 0 and 1")
        known = list(structures) if structures is not None else [None] * len(formulas)
        if len(known) != len(formulas):
            raise ParameterError(f"{len(known)} structures for {len(formulas)} formulas: expected one each")
        table = pd.DataFrame(np.nan, index=range(len(formulas)), columns=_COLUMNS)
        usable = [k for k, f in enumerate(formulas) if _has_lithium(f)]
        for model, rows in self._shared_out(usable, known):
            for start in range(0, len(rows), _CHUNK):
                chunk = rows[start : start + _CHUNK]
                X = model._features([formulas[k] for k in chunk], [known[k] for k in chunk])
                table.iloc[chunk] = model.estimator.predict_with_interval(X, confidence=confidence)
        return table

    def _shared_out(
        self, rows: list[int], structures: list[Structure | None]
    ) -> list[tuple["ConductivityModel", list[int]]]:
        """Return which model predicts which rows."""
        if self.fallback is None:
            return [(self, rows)]
        with_structure = [k for k in rows if structures[k] is not None]
        return [(self, with_structure), (self.fallback, [k for k in rows if structures[k] is None])]

    def _features(self, formulas: list[str], structures: list[Structure | None]) -> np.ndarray:
        """Return what the members read, shape (m, features)."""
        X = formula_features(formulas).to_numpy(float)
        return np.hstack([X, structure_features(structures)]) if self.inputs == "structure" else X

    def explain(self, formulas: Sequence[str]) -> pd.DataFrame:
        """Return what each feature adds to the prediction, log10(S/cm), one row per formula.

        Permutation SHAP values against a few training materials, about a second per formula; ``base`` and
        the features of a row add up to its prediction. NaN where `predict` gives NaN. Fractions and what
        derives from them are varied apart from each other: read the values as the model's, not nature's.
        A model that reads structures explains what the formula alone says.
        """
        import shap  # takes seconds to import

        if self.fallback is not None:
            return self.fallback.explain(formulas)
        usable = [k for k, f in enumerate(formulas) if _has_lithium(f)]
        columns = ["base", *formula_features(["Li"]).columns]
        table = pd.DataFrame(np.nan, index=range(len(formulas)), columns=columns)
        if not usable:
            return table
        X = formula_features([formulas[k] for k in usable]).to_numpy(float)
        masker = shap.maskers.Independent(self.background, max_samples=_BACKGROUND)
        explainer = shap.explainers.Permutation(self.estimator.predict, masker, seed=0)
        parts = explainer(X, max_evals=2 * X.shape[1] + 1, silent=True)
        table.iloc[usable] = np.column_stack([parts.base_values, parts.values])  # noqa: PD011
        return table


def _has_lithium(formula: str) -> bool:
    try:
        return parse_formula(formula)["Li"] > 0
    except FormulaError:
        return False


def train_conductivity_model(
    table: pd.DataFrame, *, options: ModelOptions = DEFAULT_OPTIONS, seed: int = 0
) -> ConductivityModel:
    """Train on every row of a curated table: Gaussian process and forests, see `sselib.regression.routed`.

    Upper bounds train at their value. Intervals inside the known families are calibrated on the held-out
    errors of the process; the mean with the forest errs a little less, so that they are a little wide.
    ``options`` sizes the forests.
    """
    X = formula_features(list(table[Entry.COMPOSITION])).to_numpy(float)
    return _trained(table, X, name="routed/formula", inputs="formula", options=options, seed=seed)


def train_structure_model(
    table: pd.DataFrame,
    features: pd.DataFrame,
    *,
    fallback: ConductivityModel,
    options: ModelOptions = DEFAULT_OPTIONS,
    seed: int = 0,
) -> ConductivityModel:
    """Train the model that reads structures too, as `train_conductivity_model` does the other.

    ``features`` has ``id`` and `STRUCTURE_COLUMNS` (see `sselib.features.structure.with_environment`).
    Every row of ``table`` trains; where a feature is missing it takes its median. ``fallback`` predicts
    formulas without a structure.
    """
    own = features.set_index("id").loc[table[Entry.ID], list(STRUCTURE_COLUMNS)].to_numpy(float)
    X = np.hstack([formula_features(list(table[Entry.COMPOSITION])).to_numpy(float), own])
    name = "routed/formula_environment"
    model = _trained(table, X, name=name, inputs="structure", options=options, seed=seed)
    return replace(model, fallback=fallback)


def _trained(
    table: pd.DataFrame, X: np.ndarray, *, name: str, inputs: str, options: ModelOptions, seed: int
) -> ConductivityModel:
    """Fit and calibrate the members on features X (n, f)."""
    chosen = np.random.default_rng(seed).choice(len(X), size=min(_BACKGROUND, len(X)), replace=False)
    return ConductivityModel(
        name=name,
        inputs=inputs,
        training=table[TRAINING_COLUMNS].reset_index(drop=True),
        estimator=RoutedModel(n_trees=options.n_trees, random_state=seed).fit(
            X,
            table[Entry.LOG10_SIGMA].to_numpy(float),
            families=row_groups("group_family", table).to_numpy(),
            censored=table[Entry.CENSORED].to_numpy(bool),
        ),
        background=X[chosen],
    )


def save_conductivity_model(model: ConductivityModel, *, folder: Path) -> Path:
    """Write ``<folder>/conductivity_<inputs>.skops`` and ``.parquet``, its training rows.

    Both hold data: loading them runs no code of whoever wrote them. The fallback is a file of its own.
    """
    path = folder / f"conductivity_{model.inputs}.skops"
    write_whole(path.with_suffix(".parquet"), lambda p: model.training.to_parquet(p, index=False))
    saved = {
        "sklearn": _version_of_sklearn(),
        "name": model.name,
        "estimator": model.estimator,
        "background": model.background,
    }
    return write_whole(path, lambda p: skops.io.dump(saved, p, compression=zipfile.ZIP_DEFLATED))


def _version_of_sklearn() -> str:
    """Return major and minor version: forests keep their meaning from patch to patch."""
    return ".".join(sklearn.__version__.split(".")[:2])


def load_conductivity_model(run: Path, *, inputs: str = "formula") -> ConductivityModel:
    """Return the model that notebook 04 saved in a run folder.

    ``inputs`` is what it reads: "formula" alone, or the "structure" too. Raises `ParameterError` for
    another word, `RunError` where the run has no such model, and `DataError` where the file is damaged, was
    changed since the run, or was written by another version of scikit-learn.
    """
    if inputs not in INPUTS:
        raise ParameterError(f"inputs {inputs!r} is unknown: expected one of {', '.join(INPUTS)}")
    path = Path(run) / NOTEBOOK / "models" / f"conductivity_{inputs}.skops"
    if not path.is_file():
        raise RunError(
            f"the run {run} has no {NOTEBOOK}/models/{path.name}, the conductivity model that reads "
            f"the {inputs}: run notebook 04 first (sse run 01 03 04 --out {run})"
        )
    saved, training = _read(
        as_recorded(Path(run), path), as_recorded(Path(run), path.with_suffix(".parquet"))
    )
    if saved["sklearn"] != _version_of_sklearn():
        raise DataError(
            f"{path} was written with scikit-learn {saved['sklearn']}, and {sklearn.__version__} is "
            f"installed: train it anew (sse run 04 --out {run})"
        )
    return _current(
        ConductivityModel(
            name=saved["name"],
            inputs=inputs,
            training=training,
            estimator=saved["estimator"],
            background=saved["background"],
            fallback=load_conductivity_model(run) if inputs == "structure" else None,
        ),
        path,
    )


def _read(path: Path, training: Path) -> tuple[dict[str, object], pd.DataFrame]:
    try:
        return skops.io.load(path, trusted=_TRUSTED), pd.read_parquet(training)
    except Exception as error:  # a damaged archive raises what zip, JSON, NumPy and skops raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"the model {path} cannot be read ({reason}): run notebook 04 anew") from error


def _current(model: ConductivityModel, path: Path) -> ConductivityModel:
    """Return the model; raise `DataError` where this code computes other features or other intervals."""
    expected = len(FORMULA_COLUMNS) + (len(STRUCTURE_COLUMNS) if model.inputs == "structure" else 0)
    if model.background.shape[1] != expected:
        raise DataError(
            f"{path} was trained on {model.background.shape[1]} features by another version of this suite, "
            f"which now computes {expected}: train it anew (sse run 04)"
        )
    if not hasattr(model.estimator.calibration_, "hidden_errors"):
        raise DataError(
            f"{path} holds intervals that an earlier version of this suite made, too narrow for families "
            "that were never measured: train it anew (sse run 04)"
        )
    return model
