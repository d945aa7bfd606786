"""Running models under a protocol: predictions of held-out rows, with checkpoints.

Every prediction is for a row that its model was not trained on. One file per case (data, model,
features, protocol) lets an interrupted notebook go on where it stopped.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
import xgboost
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold

from sselib.columns import Curated, Entry
from sselib.columns import Prediction as P
from sselib.errors import DataError, ParameterError, nearest
from sselib.materials.composition import element_fractions, l1_distances
from sselib.progress import progress
from sselib.regression.conformal import VERSION, calibrate, suggested_families
from sselib.regression.gaussian_process import CompositionGP
from sselib.regression.label_noise import relative_noise
from sselib.regression.models import (
    CONTROL_FEATURES,
    CONTROLS,
    FEATURE_SETS,
    MODELS,
    WEIGHTED,
    ModelOptions,
    feature_columns,
    fit_model,
    make_model,
)
from sselib.regression.routed import RoutedModel
from sselib.regression.tuning import tune
from sselib.runfolder import write_whole
from sselib.threads import in_threads
from sselib.validation.splits import Split, protocol_splits, row_groups

N_INTERVAL_FOLDS = 5
_MANY_CASES = 40  # from here on processes, which take seconds to start, are faster than threads
OWN_INTERVALS: tuple[str, ...] = ("gp", "routed")  # models whose intervals need no inner folds
_HALOGENS = ["F", "Cl", "Br", "I"]

# Kim et al., Table 9: composition, experimental and predicted log10(S/cm) of their GBR.
KIM_TABLE_9 = pd.DataFrame(
    [
        ("Li7La3Zr2O12", -4.638, -4.258),
        ("Li6BaLa2Ta2O12", -4.886, -4.833),
        ("Li10GeP2S12", -1.917, -1.962),
        ("Li10Ge0.66Sn0.33P2S12", -2.194, -1.747),
        ("Li6PS5Br", -3.154, -3.526),
        ("Li6PS5I", -5.900, -3.929),
        ("Li8GeP4", -4.066, -4.464),
        ("Li4SnSe4", -4.699, -6.715),
    ],
    columns=["formula", "kim_experiment", "kim_gbr"],
)

# Kim et al., section III.C and Figure 7: test MAE of their GBR in log10 units, one 399/100 split.
KIM_FIGURE_7: dict[str, float] = {"kim_stoichiometric": 0.611, "kim_geometric": 0.720, "kim_all": 0.543}
# Kim et al., Table 8: rows in their test set and MAE of their GBR in log10 units.
KIM_TABLE_8 = pd.DataFrame(
    [
        ("oxide", 57, 0.503),
        ("sulfide (non-halides)", 11, 0.245),
        ("sulfide (halides)", 27, 0.501),
        ("others (non-S/O)", 5, 1.874),
    ],
    columns=["family", "kim_n", "kim_mae"],
)


@dataclass(frozen=True)
class Case:
    """One model on one feature set of one data set under one protocol."""

    dataset: str
    model: str
    features: str
    protocol: str


@dataclass(frozen=True)
class Settings:
    """How cases are run.

    ``n_trials`` is the length of the search behind ``xgb_tuned``, done anew on the training rows of every
    split. The models named in ``interval_models`` get a prediction interval of coverage ``nominal`` under
    the protocols named in ``interval_protocols``; but for `OWN_INTERVALS` it costs five more fits per split.
    """

    seed: int = 0
    repeats: int = 10
    n_folds: int = 5
    n_jobs: int = 2
    n_trials: int = 0
    nominal: float = 0.9
    interval_models: tuple[str, ...] = ()
    interval_protocols: tuple[str, ...] = ()
    options: ModelOptions = field(default_factory=ModelOptions)


@dataclass(frozen=True)
class _Arrays:
    """Features (n, f), labels in log10(S/cm), bounds, near-duplicate groups, families of one case, (n,).

    ``noise`` (n,): variance of each label against that of a single measurement, for models that are told.
    """

    X: np.ndarray
    y: np.ndarray
    censored: np.ndarray
    groups: np.ndarray
    families: np.ndarray | None
    noise: np.ndarray | None = None


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
) -> list[Case]:
    """Return a case per protocol and model, the controls included.

    ``models`` are written "model/features", for example "xgb_kim/kim_all". The control ``shuffled`` takes
    the features of the first. Raises `ParameterError` for another form or an unknown name.
    """
    pairs = [split_name(m) for m in models]
    pairs += [(c, CONTROL_FEATURES.get(c, pairs[0][1])) for c in controls]
    return [Case(dataset, model, features, protocol) for protocol in protocols for model, features in pairs]


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
    cases: Iterable[Case],
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
    case: Case,
    settings: Settings,
    parts: Path | None = None,
) -> pd.DataFrame:
    """Return one row per prediction with the columns of `Prediction`.

    ``table`` is curated rows, ``features`` has ``id`` and a column per feature, ``groups`` tells their
    group. With a folder ``parts`` the result is kept under a name that holds a hash of data, splits,
    settings and library versions, and read back if nothing of that has changed.
    """
    arrays = _arrays(table, features, feature_columns(groups, case.features))
    if case.model in WEIGHTED:
        arrays = replace(arrays, noise=relative_noise(table))
    splits = protocol_splits(
        case.protocol, table, seed=settings.seed, repeats=settings.repeats, n_folds=settings.n_folds
    )
    key = _fingerprint(case, settings, arrays, splits, table)
    name = f"{case.dataset}-{case.model}-{case.features}-{case.protocol}-{key}"
    path = parts / f"{name}.parquet" if parts else None
    if path and path.is_file():
        return pd.read_parquet(path)
    predictions = _predict(
        table,
        arrays,
        splits,
        case=case,
        settings=settings,
        trials=parts / f"{name}.trials" if parts else None,
    )
    if path:
        write_whole(path, lambda p: predictions.to_parquet(p, index=False))
    return predictions


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


def _fingerprint(
    case: Case, settings: Settings, arrays: _Arrays, splits: list[Split], table: pd.DataFrame
) -> str:
    """Return 12 hexadecimal digits that change with anything that can change the predictions."""
    known = {
        "case": asdict(case),
        "seed": settings.seed,
        "options": asdict(settings.options),
        "interval": _wants_interval(case, settings) and (settings.nominal, VERSION),
        "n_trials": case.model == "xgb_tuned" and settings.n_trials,
        "xgboost": xgboost.__version__,
        "sklearn": sklearn.__version__,
    }
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode())
    families = [] if arrays.families is None else arrays.families
    texts = [*table[Entry.ID], *table[Entry.CENSORED].astype(str), *arrays.groups, *families]
    digest.update("\n".join(texts).encode())
    noise = [] if arrays.noise is None else [arrays.noise]
    for array in (arrays.X, arrays.y, *noise, *(a for s in splits for a in (s.train, s.test))):
        digest.update(np.ascontiguousarray(array).tobytes() + b"|")
    return digest.hexdigest()[:12]


def _predict(
    table: pd.DataFrame,
    arrays: _Arrays,
    splits: list[Split],
    *,
    case: Case,
    settings: Settings,
    trials: Path | None,
) -> pd.DataFrame:
    """Fit every split and its inner folds, several at a time, each in one thread."""
    wants_interval = _wants_interval(case, settings)
    inner_folds = wants_interval and case.model not in OWN_INTERVALS
    options = [_options(arrays, s, case=case, settings=settings, trials=trials) for s in splits]
    jobs = [(k, s.train, s.test) for k, s in enumerate(splits)]
    if inner_folds:
        jobs += [(k, *fold) for k, s in enumerate(splits) for fold in _inner_folds(arrays, s)]

    def fit(k: int, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Return predictions and interval ends of one fold, shape (3, n_test); NaN without an interval."""
        model = make_model(case.model, options=options[k], seed=settings.seed + k)
        found = _fit_and_predict(model, arrays, train, test)
        if wants_interval and not inner_folds:
            return np.vstack([found, _own_interval(model, arrays, train, test, nominal=settings.nominal)])
        return np.vstack([found, np.full((2, len(test)), np.nan)])

    results = in_threads(fit, jobs, n_jobs=settings.n_jobs)
    n = len(splits)
    if inner_folds:
        errors = [np.abs(arrays.y[job[2]] - r[0]) for job, r in zip(jobs[n:], results[n:], strict=True)]
        for k in range(n):
            of_split = np.concatenate(errors[k * N_INTERVAL_FOLDS : (k + 1) * N_INTERVAL_FOLDS])
            width = half_width(of_split, nominal=settings.nominal)
            results[k][1:] = results[k][0] + width * np.array([[-1], [1]])
    frames = [_frame(table, s, *r) for s, r in zip(splits, results[:n], strict=True)]
    named = {
        P.DATASET: case.dataset,
        P.MODEL: case.model,
        P.FEATURES: case.features,
        P.PROTOCOL: case.protocol,
        P.P_SUPERIONIC: np.nan,
    }
    return pd.concat(frames, ignore_index=True).assign(**named)[[str(c) for c in P]]


def _fit_and_predict(
    model: BaseEstimator, arrays: _Arrays, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Return predictions of the test rows, shape (m,); a model that knows bounds or families is told."""
    told = {"families": _of(arrays.families, train), "noise": _of(arrays.noise, train)}
    fit_model(model, arrays.X[train], arrays.y[train], censored=arrays.censored[train], **told)
    return np.asarray(model.predict(arrays.X[test]), float)


def _own_interval(
    model: CompositionGP | RoutedModel,
    arrays: _Arrays,
    train: np.ndarray,
    test: np.ndarray,
    *,
    nominal: float,
) -> np.ndarray:
    """Return both ends of a fitted model's interval, to be calibrated by `conformal`, shape (2, m)."""
    if isinstance(model, RoutedModel):
        return model.predict_with_interval(arrays.X[test], confidence=nominal)[:, 1:].T
    exact, families = ~arrays.censored[train], _of(arrays.families, train)
    calibration = calibrate(model, arrays.X[train], arrays.y[train], exact=exact, families=families)
    mean, spread = model.predict(arrays.X[test], return_spread=True)
    suggested = suggested_families(arrays.X[test])
    return np.array(calibration.interval(mean, spread=spread, families=suggested, confidence=nominal))


def _of(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[rows]


def _wants_interval(case: Case, settings: Settings) -> bool:
    return case.model in settings.interval_models and case.protocol in settings.interval_protocols


def _options(
    arrays: _Arrays, split: Split, *, case: Case, settings: Settings, trials: Path | None
) -> ModelOptions:
    """Return the model options of a split; ``xgb_tuned`` is tuned here, on its training rows alone."""
    if case.model != "xgb_tuned" or not settings.n_trials:
        return settings.options
    storage = trials.with_suffix(f".{split.repeat}-{split.fold}.log") if trials else None
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


def _inner_folds(arrays: _Arrays, split: Split) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return five folds of a training set that keep near-duplicates together."""
    folds = GroupKFold(N_INTERVAL_FOLDS).split(split.train, groups=arrays.groups[split.train])
    return [(split.train[fit], split.train[held]) for fit, held in folds]


def half_width(residuals: np.ndarray, *, nominal: float) -> float:
    """Return half the width of a symmetric prediction interval from out-of-fold errors, log10(S/cm).

    The ceil((n + 1) nominal)-th smallest of the n absolute errors of the training rows, NaN for n = 0.
    It is a simple cross-conformal interval: right for rows drawn like the training rows, and too narrow
    for others. Source: Vovk, Ann. Math. Artif. Intell. 74, 9 (2015), doi 10.1007/s10472-013-9368-4.
    """
    if not len(residuals):
        return float("nan")
    rank = min(len(residuals), int(np.ceil((len(residuals) + 1) * nominal)))
    return float(np.sort(residuals)[rank - 1])


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


def as_predictions(table: pd.DataFrame, split: Split, y_pred: np.ndarray) -> pd.DataFrame:
    """Return predictions of a split's test rows with the columns of `Prediction` that follow from them."""
    missing = np.full(len(split.test), np.nan)
    return _frame(table, split, y_pred, missing, missing).assign(**{P.P_SUPERIONIC: np.nan})


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


def compounds(
    predictions: pd.DataFrame, table: pd.DataFrame, *, formulas: Sequence[str], tolerance: float = 0.02
) -> pd.DataFrame:
    """Return the held-out prediction for each formula: that of the nearest row within ``tolerance`` (L1).

    One row per formula: formula, id, row_formula, distance_l1, y_true, censored, y_pred (log10(S/cm)). A
    formula with no such row stays, with missing values. ``predictions`` is of one model, one protocol.
    """
    rows = table[table[Entry.ID].isin(predictions[P.ID])].reset_index(drop=True)
    distance = l1_distances(
        element_fractions(list(formulas)).to_numpy(),
        element_fractions(list(rows[Entry.COMPOSITION])).to_numpy(),
    )
    best = distance.argmin(axis=1)
    near = distance.min(axis=1) <= tolerance
    found = pd.DataFrame(
        {
            "formula": list(formulas),
            P.ID: rows[Entry.ID].to_numpy()[best],
            "row_formula": rows[Entry.FORMULA].to_numpy()[best],
            "distance_l1": distance.min(axis=1),
        }
    )
    found.loc[~near, [P.ID, "row_formula", "distance_l1"]] = None
    means = predictions.groupby(P.ID)[[P.Y_TRUE, P.CENSORED, P.Y_PRED]].mean().reset_index()
    return found.merge(means, on=P.ID, how="left")


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
        error = np.abs(arrays.y[test] - _fit_and_predict(fitted, arrays, train, test))
        told = {"share": share, "n_train": len(train), "exact": ~arrays.censored[test]}
        return pd.DataFrame({"error": error}).assign(**told)

    parts = in_threads(errors, jobs, n_jobs=settings.n_jobs, stage="learning curve")
    long = pd.concat(parts, ignore_index=True)
    found = long.groupby("share").agg(n_train=("n_train", "mean"), mae_bound=("error", "mean"))
    found["mae_uncensored"] = long[long["exact"]].groupby("share")["error"].mean()
    return found.reset_index()


def coverage_by_family(predictions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return how often the interval holds the label: protocol, family, n, coverage, mean width.

    ``predictions`` is of one model and one data set; rows without an interval and bounds are left out, and
    repeats are pooled (``n`` counts predictions). Widths in log10(S/cm).
    """
    family = table.set_index(Entry.ID)[Curated.FAMILY].astype(object).fillna("unknown")
    known = predictions[~predictions[P.CENSORED].astype(bool)].dropna(subset=[P.LOWER, P.UPPER])
    inside = (known[P.LOWER] <= known[P.Y_TRUE]) & (known[P.Y_TRUE] <= known[P.UPPER])
    long = known.assign(family=known[P.ID].map(family), inside=inside, width=known[P.UPPER] - known[P.LOWER])
    return (
        long.groupby([P.PROTOCOL, "family"], sort=False)
        .agg(n=("inside", "size"), coverage=("inside", "mean"), width=("width", "mean"))
        .reset_index()
    )


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

    def points(protocol: str, split: Split, name: str) -> list[pd.DataFrame]:
        """Return measured and predicted values of a split, its training and its test rows apart."""
        arrays = _arrays(table, features, feature_columns(groups, name))
        fitted = make_model(model, options=settings.options, seed=settings.seed)
        fitted.fit(arrays.X[split.train], arrays.y[split.train])
        return [
            pd.DataFrame(
                {
                    "split": protocol,
                    "features": name,
                    "part": part,
                    P.ID: table[Entry.ID].to_numpy()[rows],
                    P.Y_TRUE: arrays.y[rows],
                    P.CENSORED: table[Entry.CENSORED].to_numpy(bool)[rows],
                    P.Y_PRED: fitted.predict(arrays.X[rows]),
                }
            )
            for part, rows in (("train", split.train), ("test", split.test))
        ]

    jobs = [(p, split, name) for (p, split), name in itertools.product(splits.items(), feature_sets)]
    parts = in_threads(points, jobs, n_jobs=settings.n_jobs)
    return pd.concat(itertools.chain.from_iterable(parts), ignore_index=True)


def save_final_model(
    table: pd.DataFrame,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    name: str,
    settings: Settings,
    folder: Path,
) -> dict[str, object]:
    """Train a boosted-tree model ("xgb_kim/all") on every row and write it as XGBoost's JSON.

    Returns its record: name, file, features (in the order of the columns it expects), n_rows, target.
    """
    model, feature_set = split_name(name)
    columns = feature_columns(groups, feature_set)
    arrays = _arrays(table, features, columns)
    fitted = make_model(model, options=settings.options, seed=settings.seed, n_jobs=settings.n_jobs)
    fitted.fit(arrays.X, arrays.y)
    path = write_whole(folder / f"{model}-{feature_set}.json", lambda p: fitted.save_model(p))
    return {
        "name": name,
        "file": path.name,
        "features": columns,
        "n_rows": len(table),
        "target": "log10_sigma, log10(S/cm)",
    }
