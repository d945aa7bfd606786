"""Running models under a protocol: predictions of held-out rows, with checkpoints.

Every prediction is for a row that its model was not trained on. A finished case (data, model, features,
protocol) is kept, so that an interrupted notebook goes on where it stopped.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator

from sselib.columns import Curated, Entry
from sselib.columns import Prediction as P
from sselib.errors import DataError, ParameterError, nearest
from sselib.features.formula import with_formula_features
from sselib.features.structure import with_environment
from sselib.kept import kept_table
from sselib.materials.composition import element_fractions
from sselib.progress import progress
from sselib.provenance import content_sha256
from sselib.regression.models import (
    CONTROL_FEATURES,
    CONTROLS,
    FEATURE_SETS,
    MODELS,
    ModelOptions,
    feature_columns,
    make_model,
)
from sselib.regression.routed import RoutedModel
from sselib.regression.tuning import tune
from sselib.threads import in_threads
from sselib.validation.splits import Split, protocol_splits, row_groups

_MANY_CASES = 40  # from here on processes, which take seconds to start, are faster than threads
_HALOGENS = ["F", "Cl", "Br", "I"]


@dataclass(frozen=True)
class ModelCase:
    """One model on one feature set of one data set under one protocol."""

    dataset: str
    model: str
    features: str
    protocol: str


@dataclass(frozen=True)
class Settings:
    """How cases are run.

    ``n_trials`` is the length of the search behind ``xgb_tuned``, done anew on the training rows of every
    split; ``nominal`` the coverage of the interval of models that have one.
    """

    seed: int = 0
    repeats: int = 10
    n_folds: int = 5
    n_jobs: int = 2
    n_trials: int = 0
    nominal: float = 0.9
    options: ModelOptions = field(default_factory=ModelOptions)


@dataclass(frozen=True)
class _Arrays:
    """Features (n, f), labels in log10(S/cm), bounds, near-duplicate groups, families of one case, (n,)."""

    X: np.ndarray
    y: np.ndarray
    censored: np.ndarray
    groups: np.ndarray
    families: np.ndarray | None


def datasets(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the data sets to evaluate, by name.

    ``obelix`` is OBELiX's rows alone, comparable with published work; ``merged`` is all rows but the recent
    electrolytes, where there is more than one source; ``recent`` is all rows, for the protocol of that name.
    Without OBELiX a single source goes by its own name.
    """
    is_recent = table[Entry.SOURCE] == "recent"
    if is_recent.any() and not is_recent.all():
        return datasets(table[~is_recent]) | {"recent": table.reset_index(drop=True)}
    sources = list(table[Entry.SOURCE].unique())
    whole = {"merged" if len(sources) > 1 else sources[0]: table.reset_index(drop=True)}
    if "obelix" not in sources or len(sources) == 1:
        return whole
    return {"obelix": table[table[Entry.SOURCE] == "obelix"].reset_index(drop=True)} | whole


def plan(
    dataset: str, protocols: Sequence[str], *, models: Sequence[str], controls: Sequence[str] = CONTROLS
) -> list[ModelCase]:
    """Return a case per protocol and model, the controls included.

    ``models`` are written "model/features", for example "xgb_kim/kim_all". The control ``shuffled`` takes
    the features of the first. Raises `ParameterError` for another form or an unknown name.
    """
    pairs = [split_name(m) for m in models]
    pairs += [(c, CONTROL_FEATURES.get(c, pairs[0][1])) for c in controls]
    return [
        ModelCase(dataset, model, features, protocol) for protocol in protocols for model, features in pairs
    ]


def split_name(name: str) -> tuple[str, str]:
    """Return model and feature set of a text such as "xgb_kim/kim_all"."""
    model, _, features = name.partition("/")
    for found, valid in ((model, MODELS), (features, FEATURE_SETS)):
        if found not in valid:
            raise ParameterError(
                f"{name!r} is not 'model/features': {found!r} is none of {', '.join(valid)}."
                f"{nearest(found, list(valid))}"
            )
    return model, features


def bootstrap_groups(table: pd.DataFrame, protocols: Iterable[str]) -> dict[str, pd.Series]:
    """Return the group of each id for the protocols that hold whole groups out (cluster bootstrap)."""
    return {
        p: pd.Series(row_groups(p, table).to_numpy(), index=table[Entry.ID])
        for p in protocols
        if p.startswith(("group_", "loco", "recent"))
    }


def evaluate_all(
    cases: Iterable[ModelCase],
    *,
    tables: dict[str, pd.DataFrame],
    features: pd.DataFrame,
    groups: pd.DataFrame,
    settings: Settings,
    parts: Path | None = None,
) -> pd.DataFrame:
    """Return the predictions of all cases; see `evaluate`. Cases named twice run once.

    Many cases are shared by processes, each with one fit at a time; few run one by one with several fits.
    """
    different = list(dict.fromkeys(cases))
    several = settings.n_jobs > 1 and len(different) >= _MANY_CASES
    each = replace(settings, n_jobs=1) if several else settings
    work = Parallel(settings.n_jobs if several else 1, return_as="generator")(
        delayed(evaluate)(tables[case.dataset], features, groups, case=case, settings=each, parts=parts)
        for case in different
    )
    found = list(progress(work, stage="models under protocols", total=len(different)))
    return pd.concat(found, ignore_index=True)


def evaluate(
    table: pd.DataFrame,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    case: ModelCase,
    settings: Settings,
    parts: Path | None = None,
) -> pd.DataFrame:
    """Return one row per prediction with the columns of `Prediction`.

    ``table`` is curated rows, ``features`` has ``id`` and a column per feature, ``groups`` tells their
    group. With a folder ``parts`` the result is kept under a hash of data, splits, settings, code and
    library versions, and read back if nothing of that has changed.
    """
    arrays = _arrays(table, features, feature_columns(groups, case.features))
    splits = protocol_splits(
        case.protocol, table, seed=settings.seed, repeats=settings.repeats, n_folds=settings.n_folds
    )
    depends = {k: v for k, v in asdict(settings).items() if k not in ("n_jobs", "repeats", "n_folds")}
    key = (case, depends, arrays, list(table[Entry.ID]), splits)
    trials = parts / "trials" / content_sha256(key)[:24] if parts else None
    return kept_table(
        parts, key, lambda: _predict(table, arrays, splits, case=case, settings=settings, trials=trials)
    )


def all_features(
    features: pd.DataFrame, groups: pd.DataFrame, table: pd.DataFrame, structures: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the features of notebook 03 with those of formula and structure, and their groups."""
    return with_environment(*with_formula_features(features, groups, table), table, structures)


def _arrays(table: pd.DataFrame, features: pd.DataFrame, columns: list[str]) -> _Arrays:
    missing = set(table[Entry.ID]) - set(features["id"])
    if missing:
        raise DataError(
            f"{len(missing)} curated rows have no features, for example {min(missing)}: run "
            "notebook 03_features again on this curated table"
        )
    rows = features.set_index("id").loc[table[Entry.ID], columns]
    return _Arrays(
        X=rows.to_numpy(float),
        y=table[Entry.LOG10_SIGMA].to_numpy(float),
        censored=table[Entry.CENSORED].to_numpy(bool),
        groups=row_groups("duplicates", table).to_numpy(),
        families=row_groups("group_family", table).to_numpy() if Curated.FAMILY in table else None,
    )


def _predict(
    table: pd.DataFrame,
    arrays: _Arrays,
    splits: list[Split],
    *,
    case: ModelCase,
    settings: Settings,
    trials: Path | None,
) -> pd.DataFrame:
    """Fit every split, several at a time, each in one thread."""

    def fit(k: int, split: Split) -> pd.DataFrame:
        """Return the predictions of one split's test rows."""
        options = _options(arrays, split, case=case, settings=settings, trials=trials)
        model = make_model(case.model, options=options, seed=settings.seed + k)
        found = _fit_and_predict(model, arrays, split.train, split.test, nominal=settings.nominal)
        return _frame(table, split, *found)

    # A search takes all threads itself: one split after the other.
    n_jobs = 1 if _is_searched(case, settings) else settings.n_jobs
    frames = in_threads(fit, enumerate(splits), n_jobs=n_jobs)
    named = {
        P.DATASET: case.dataset,
        P.MODEL: case.model,
        P.FEATURES: case.features,
        P.PROTOCOL: case.protocol,
        P.P_SUPERIONIC: np.nan,
    }
    return pd.concat(frames, ignore_index=True).assign(**named)[[str(c) for c in P]]


def _fit_and_predict(
    model: BaseEstimator, arrays: _Arrays, train: np.ndarray, test: np.ndarray, *, nominal: float
) -> np.ndarray:
    """Return prediction and interval ends of the test rows, shape (3, m); NaN where there is no interval."""
    if not isinstance(model, RoutedModel):
        y = model.fit(arrays.X[train], arrays.y[train]).predict(arrays.X[test])
        return np.vstack([y, np.full((2, len(test)), np.nan)])
    families = None if arrays.families is None else arrays.families[train]
    model.fit(arrays.X[train], arrays.y[train], censored=arrays.censored[train], families=families)
    return model.predict_with_interval(arrays.X[test], confidence=nominal).T


def _is_searched(case: ModelCase, settings: Settings) -> bool:
    return case.model == "xgb_tuned" and settings.n_trials > 0


def _options(
    arrays: _Arrays, split: Split, *, case: ModelCase, settings: Settings, trials: Path | None
) -> ModelOptions:
    """Return the model options of a split; ``xgb_tuned`` is tuned here, on its training rows alone."""
    if not _is_searched(case, settings):
        return settings.options
    storage = trials / f"{split.repeat}-{split.fold}.log" if trials else None
    if storage:
        storage.parent.mkdir(parents=True, exist_ok=True)
    found = tune(
        arrays.X[split.train],
        arrays.y[split.train],
        n_trials=settings.n_trials,
        groups=arrays.groups[split.train],
        seed=settings.seed,
        n_jobs=settings.n_jobs,
        options=settings.options,
        storage=storage,
    )
    return replace(settings.options, tuned=found.settings)


def _frame(
    table: pd.DataFrame, split: Split, y_pred: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> pd.DataFrame:
    rows = table.iloc[split.test]
    return pd.DataFrame(
        {
            P.ID: rows[Entry.ID].to_numpy(),
            P.REPEAT: split.repeat,
            P.FOLD: split.fold,
            P.Y_TRUE: rows[Entry.LOG10_SIGMA].to_numpy(float),
            P.CENSORED: rows[Entry.CENSORED].to_numpy(bool),
            P.Y_PRED: y_pred,
            P.LOWER: lower,
            P.UPPER: upper,
        }
    )


def kim_category(compositions: Sequence[str]) -> list[str]:
    """Return the four categories of Kim et al.'s Table 8, from composition alone.

    Sulfide: more S than O; with a halogen it is "sulfide (halides)". Else oxide where there is O, else
    "others (non-S/O)". Kim et al. do not say how they treat oxysulfides and sulfates.
    """
    x = element_fractions(list(compositions))
    halide = x[_HALOGENS].sum(axis=1) > 0
    sulfide = x["S"] > x["O"]
    return list(
        np.select(
            [sulfide & halide, sulfide, x["O"] > 0],
            ["sulfide (halides)", "sulfide (non-halides)", "oxide"],
            "others (non-S/O)",
        )
    )


def family_errors(predictions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the error per family: kind ("kim" or "family"), family, n, mae_bound, bias, mean label.

    One row per model, feature set, protocol and family; repeats are pooled. ``bias`` is the mean of
    prediction minus label. All in log10(S/cm); a bound counts as its value.
    """
    names = pd.DataFrame(
        {
            P.ID: table[Entry.ID],
            "kim": kim_category(table[Entry.COMPOSITION]),
            "family": table[Curated.FAMILY].astype(object).fillna("unknown"),
        }
    )
    long = predictions.merge(names.melt(P.ID, var_name="kind", value_name="group"), on=P.ID)
    long["error"] = long[P.Y_PRED] - long[P.Y_TRUE]
    long["absolute_error"] = long["error"].abs()
    keys = [P.DATASET, P.PROTOCOL, P.MODEL, P.FEATURES, "kind", "group"]
    found = (
        long.groupby(keys, sort=False)
        .agg(
            n=(P.ID, "nunique"),
            mae_bound=("absolute_error", "mean"),
            bias=("error", "mean"),
            mean_label=(P.Y_TRUE, "mean"),
        )
        .reset_index()
    )
    return found.rename(columns={"group": "family"}).sort_values(
        [*keys[:5], "n"], ascending=[True] * 5 + [False]
    )


def learning_curve(
    table: pd.DataFrame,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    name: str,
    protocol: str,
    shares: Sequence[float],
    settings: Settings,
) -> pd.DataFrame:
    """Return the error of "model/features" when only a share of the training groups is used.

    Columns: share, n_train (mean over folds), mae_bound, mae_uncensored, in log10(S/cm). Whole groups of
    the protocol are left out at random (``settings.seed``); test folds stay the same.
    """
    model, feature_set = split_name(name)
    arrays = _arrays(table, features, feature_columns(groups, feature_set))
    units, rng = row_groups(protocol, table).to_numpy(), np.random.default_rng(settings.seed)
    splits = protocol_splits(protocol, table, seed=settings.seed, n_folds=settings.n_folds)
    jobs = []
    for share, split in itertools.product(shares, splits):
        names = rng.permutation(np.unique(units[split.train]))
        kept = np.isin(units[split.train], names[: max(1, round(share * len(names)))])
        jobs.append((share, split.train[kept], split.test))

    def errors(share: float, train: np.ndarray, test: np.ndarray) -> pd.DataFrame:
        """Return the absolute errors, log10(S/cm), of a model fitted to a share of the rows."""
        fitted = make_model(model, options=settings.options, seed=settings.seed)
        found = _fit_and_predict(fitted, arrays, train, test, nominal=settings.nominal)
        error = np.abs(arrays.y[test] - found[0])
        told = {"share": share, "n_train": len(train), "exact": ~arrays.censored[test]}
        return pd.DataFrame({"error": error}).assign(**told)

    parts = in_threads(errors, jobs, n_jobs=settings.n_jobs, stage="learning curve")
    long = pd.concat(parts, ignore_index=True)
    found = long.groupby("share").agg(n_train=("n_train", "mean"), mae_bound=("error", "mean"))
    found["mae_uncensored"] = long[long["exact"]].groupby("share")["error"].mean()
    return found.reset_index()


def parity_points(
    table: pd.DataFrame,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    feature_sets: Sequence[str],
    protocols: Sequence[str],
    model: str,
    settings: Settings,
) -> pd.DataFrame:
    """Return fitted and held-out predictions of the first split of each protocol, as in Kim et al.'s Fig. 7.

    Columns: split (the protocol), features, part (train or test), id, y_true, censored, y_pred.
    """
    splits = {p: protocol_splits(p, table, seed=settings.seed, repeats=1)[0] for p in protocols}

    def points(protocol: str, split: Split, name: str) -> pd.DataFrame:
        """Return measured and predicted values of a split's training and test rows."""
        arrays = _arrays(table, features, feature_columns(groups, name))
        fitted = make_model(model, options=settings.options, seed=settings.seed)
        fitted.fit(arrays.X[split.train], arrays.y[split.train])
        rows = np.r_[split.train, split.test]
        found = {
            "split": protocol,
            "features": name,
            "part": np.repeat(["train", "test"], [len(split.train), len(split.test)]),
            P.ID: table[Entry.ID].to_numpy()[rows],
            P.Y_TRUE: arrays.y[rows],
            P.CENSORED: arrays.censored[rows],
            P.Y_PRED: fitted.predict(arrays.X[rows]),
        }
        return pd.DataFrame(found)

    jobs = [(p, split, name) for (p, split), name in itertools.product(splits.items(), feature_sets)]
    return pd.concat(in_threads(points, jobs, n_jobs=settings.n_jobs), ignore_index=True)
