"""The trained model that predicts the room-temperature conductivity of a formula, with its interval.

Notebook 04 trains and saves it; `load_conductivity_model` gives it back in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import shap
import sklearn
from pymatgen.core import Structure
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.impute import SimpleImputer

from sselib.columns import Curated, Entry
from sselib.composition import l1_distances, parse_formula
from sselib.conformal import Calibration
from sselib.errors import DataError, FormulaError, ParameterError, RunError
from sselib.features.formula import formula_features
from sselib.runfolder import write_whole
from sselib.splits import protocol_splits

INPUTS: tuple[str, ...] = ("formula", "structure")
NOTEBOOK = "04_gbr_shap"
TRAINING_COLUMNS = [Entry.ID, Entry.FORMULA, Entry.LOG10_SIGMA, Entry.CENSORED, Curated.FAMILY]
_CHUNK = 4000  # formulas featurised at a time
_CALIBRATION_PROTOCOLS = ("kfold5", "group_chemsys", "group_family")


@dataclass(frozen=True)
class FittedForest:
    """Extra trees on formula features; missing properties are filled with the training median."""

    columns: tuple[str, ...]
    imputer: SimpleImputer
    forest: ExtraTreesRegressor
    fractions: np.ndarray  # mole fractions of the training rows, shape (n, elements)

    def inputs(self, features: pd.DataFrame) -> np.ndarray:
        """Return the columns that the trees expect, shape (m, f)."""
        return self.imputer.transform(features[list(self.columns)].to_numpy(float))

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return log10(S/cm), shape (m,)."""
        return self.forest.predict(self.inputs(features))

    def difficulty(self, features: pd.DataFrame) -> np.ndarray:
        """Return a number that grows with the expected error: the distance to the training rows, (m,)."""
        own = features.filter(regex="^fraction_").to_numpy(float)
        return 0.3 + l1_distances(own, self.fractions).min(axis=1)


@dataclass(frozen=True)
class ConductivityModel:
    """A trained model; ``training`` has one row per training material (see `TRAINING_COLUMNS`)."""

    name: str
    inputs: str
    training: pd.DataFrame
    fitted: FittedForest
    calibration: Calibration

    def predict(
        self,
        formulas: Sequence[str],
        *,
        structures: Sequence[Structure | None] | None = None,
        confidence: float = 0.9,
    ) -> pd.DataFrame:
        """Return log10_sigma, lower, upper in log10(S/cm) at room temperature, one row per formula.

        The interval shall cover the measured value with probability ``confidence``. A row is NaN where the
        formula cannot be read or holds no lithium. ``structures`` matter only to a model with the inputs
        "structure". Raises `ParameterError` for a confidence outside (0, 1).
        """
        if not 0 < confidence < 1:
            raise ParameterError(f"confidence {confidence} is no probability: expected between 0 and 1")
        table = pd.DataFrame(np.nan, index=range(len(formulas)), columns=["log10_sigma", "lower", "upper"])
        readable = [k for k, f in enumerate(formulas) if _has_lithium(f)]
        for start in range(0, len(readable), _CHUNK):
            rows = readable[start : start + _CHUNK]
            features = formula_features([formulas[k] for k in rows])
            y = self.fitted.predict(features)
            ends = self.calibration.interval(
                y, difficulty=self.fitted.difficulty(features), confidence=confidence
            )
            table.iloc[rows] = np.column_stack([y, *ends])
        return table

    def explain(self, formulas: Sequence[str]) -> pd.DataFrame:
        """Return what each feature adds to the prediction (SHAP), log10(S/cm), one row per formula.

        Columns: ``base`` (the mean prediction) and one per feature; a row adds up to the prediction. NaN
        where `predict` gives NaN.
        """
        columns = ["base", *self.fitted.columns]
        table = pd.DataFrame(np.nan, index=range(len(formulas)), columns=columns)
        readable = [k for k, f in enumerate(formulas) if _has_lithium(f)]
        if not readable:
            return table
        X = self.fitted.inputs(formula_features([formulas[k] for k in readable]))
        explainer = shap.TreeExplainer(self.fitted.forest)
        values = explainer.shap_values(X, check_additivity=False)
        base = np.full(len(X), np.ravel(explainer.expected_value)[0])
        table.iloc[readable] = np.column_stack([base, values])
        return table


def _has_lithium(formula: str) -> bool:
    try:
        return parse_formula(formula)["Li"] > 0
    except FormulaError:
        return False


def train_conductivity_model(table: pd.DataFrame, *, n_trees: int = 300, seed: int = 0) -> ConductivityModel:
    """Train on every row of a curated table, and calibrate intervals on rows held out by several rules.

    Calibration pools the errors of random folds, of held-out chemical systems and of held-out families,
    so that far and near rows are among them. Upper bounds train at their value and do not calibrate.
    """
    features = formula_features(list(table[Entry.COMPOSITION]))
    y = table[Entry.LOG10_SIGMA].to_numpy(float)
    exact = ~table[Entry.CENSORED].to_numpy(bool)
    errors, difficulty = [], []
    for split in [s for p in _CALIBRATION_PROTOCOLS for s in protocol_splits(p, table, seed=seed)]:
        fitted = _fit(features.iloc[split.train], y[split.train], n_trees=n_trees // 3, seed=seed)
        test = split.test[exact[split.test]]
        errors.append(y[test] - fitted.predict(features.iloc[test]))
        difficulty.append(fitted.difficulty(features.iloc[test]))
    return ConductivityModel(
        name="extra_trees/formula",
        inputs="formula",
        training=table[TRAINING_COLUMNS].reset_index(drop=True),
        fitted=_fit(features, y, n_trees=n_trees, seed=seed),
        calibration=Calibration(np.concatenate(errors), np.concatenate(difficulty)),
    )


def _fit(features: pd.DataFrame, y: np.ndarray, *, n_trees: int, seed: int) -> FittedForest:
    """Train on the features that vary among the training rows."""
    columns = tuple(features.columns[features.max() > features.min()])
    imputer = SimpleImputer(strategy="median").fit(features[list(columns)].to_numpy(float))
    X = imputer.transform(features[list(columns)].to_numpy(float))
    forest = ExtraTreesRegressor(n_trees, max_features=0.5, random_state=seed, n_jobs=1).fit(X, y)
    fractions = element_fractions_of(features)
    return FittedForest(columns=columns, imputer=imputer, forest=forest, fractions=fractions)


def element_fractions_of(features: pd.DataFrame) -> np.ndarray:
    """Return the mole fractions among formula features, shape (n, elements)."""
    return features.filter(regex="^fraction_").to_numpy(float)


def save_conductivity_model(model: ConductivityModel, *, folder: Path) -> Path:
    """Write ``<folder>/conductivity_<inputs>.joblib`` with the version of scikit-learn that made it."""
    path = folder / f"conductivity_{model.inputs}.joblib"
    saved = {"sklearn": sklearn.__version__, "model": model}
    return write_whole(path, lambda p: joblib.dump(saved, p, compress=3))


def load_conductivity_model(run: Path, *, inputs: str = "formula") -> ConductivityModel:
    """Return the model that notebook 04 saved in a run folder.

    ``inputs`` is what it reads: "formula" alone, or the "structure" too. Raises `ParameterError` for
    another word, `RunError` where the run has no such model, and `DataError` where another version of
    scikit-learn wrote it.
    """
    if inputs not in INPUTS:
        raise ParameterError(f"inputs {inputs!r} is unknown: expected one of {', '.join(INPUTS)}")
    path = Path(run) / NOTEBOOK / "models" / f"conductivity_{inputs}.joblib"
    if not path.is_file():
        raise RunError(
            f"the run {run} has no {NOTEBOOK}/models/{path.name}, the conductivity model that reads "
            f"the {inputs}: run notebook 04 first (sse run 01 03 04 --out {run})"
        )
    saved = joblib.load(path)
    if saved["sklearn"] != sklearn.__version__:
        raise DataError(
            f"{path} was written with scikit-learn {saved['sklearn']}, and {sklearn.__version__} is "
            f"installed: train it anew (sse run 04 --out {run})"
        )
    return saved["model"]
