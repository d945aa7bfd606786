"""The headline table: per protocol the best model by a fixed rule, its controls and the published numbers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from sselib.errors import SchemaError
from sselib.paths import project_root

CONTROLS: tuple[str, ...] = ("mean", "median", "1nn", "shuffled")
# The rule: the first of these metrics that a protocol has decides, lowest or highest value.
RULE: tuple[tuple[str, bool], ...] = (("mae_bound", True), ("auc_pr", False))
RULE_TEXT = (
    "Per notebook, dataset and protocol the table shows the model and features with the lowest mae_bound "
    "(highest auc_pr for classification); the other metrics belong to that same model. Picking the best of "
    "several models on the rows it is judged by favours it a little."
)
PROTOCOL_ORDER: tuple[str, ...] = (
    "obelix_official",
    "random_stratified",
    "kfold5",
    "group_doi",
    "group_chemsys",
    "group_family",
    "loco",
    "loco_paper",
)
_RANDOM = ("random_stratified", "kfold5")
_COLUMNS = [
    "dataset",
    "model",
    "features",
    "protocol",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "unit",
    "seed",
]


@dataclass(frozen=True)
class Headline:
    """One row of the table; ``scores`` maps a metric to its record, ``controls`` a control to its record."""

    notebook: str
    dataset: str
    protocol: str
    model: str
    features: str
    metric: str
    scores: Mapping[str, Mapping[str, object]]
    controls: Mapping[str, Mapping[str, object]]
    twins: Mapping[str, float]  # grouped protocol -> the same model's value of the metric there
    published: tuple[Mapping[str, object], ...]

    @property
    def is_random(self) -> bool:
        """True for a random split, which must not stand without its grouped twin."""
        return self.protocol in _RANDOM


def read_metrics(root: Path, notebooks: list[str]) -> pd.DataFrame:
    """Return every record of the notebooks' ``metrics.json`` with a column ``notebook``.

    Raises `SchemaError` if a file does not hold a list of records.
    """
    tables = [_read(root / name / "metrics.json", name) for name in notebooks]
    found = [t for t in tables if len(t)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["notebook", *_COLUMNS])


def _read(path: Path, notebook: str) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    records = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise SchemaError(f"{notebook}/metrics.json holds no list of records: expected {', '.join(_COLUMNS)}")
    table = pd.DataFrame(records)
    missing = [c for c in ("metric", "value") if c not in table.columns]
    if len(table) and missing:
        raise SchemaError(
            f"{notebook}/metrics.json lacks {', '.join(missing)}: expected {', '.join(_COLUMNS)}"
        )
    return table.reindex(columns=_COLUMNS).assign(notebook=notebook)


def published_numbers() -> list[dict[str, object]]:
    """Return the entries of `data/published.yaml`, empty if the file is not there."""
    path = project_root() / "data" / "published.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["numbers"] if path.is_file() else []


def headlines(metrics: pd.DataFrame) -> list[Headline]:
    """Return one row per (notebook, dataset, protocol), grouped protocols below their random twins."""
    published = published_numbers()
    blocks = metrics.groupby(["notebook", "dataset", "protocol"], sort=False)
    rows = [_headline(key, block, metrics, published) for key, block in blocks]
    return sorted((r for r in rows if r), key=lambda r: (r.notebook, r.dataset, _position(r.protocol)))


def _position(protocol: str) -> tuple[int, str]:
    known = PROTOCOL_ORDER.index(protocol) if protocol in PROTOCOL_ORDER else len(PROTOCOL_ORDER)
    return known, protocol


def _headline(
    key: tuple[str, str, str], block: pd.DataFrame, metrics: pd.DataFrame, published: list[dict[str, object]]
) -> Headline | None:
    """Return the row of one block, or None if it holds no model judged by a metric of the rule."""
    models = block[~block["model"].isin(CONTROLS)]
    rule = next(((m, low) for m, low in RULE if (models["metric"] == m).any()), None)
    if rule is None:
        return None
    metric, lowest = rule
    ranked = models[models["metric"] == metric].dropna(subset="value")
    best = ranked.sort_values(["value", "model", "features"], ascending=[lowest, True, True]).iloc[0]
    own = models[(models["model"] == best["model"]) & (models["features"] == best["features"])]
    notebook, dataset, protocol = key
    return Headline(
        notebook=notebook,
        dataset=dataset,
        protocol=protocol,
        model=best["model"],
        features=best["features"],
        metric=metric,
        scores=_by(own, "metric"),
        controls=_controls(block, metric, best["features"]),
        twins=_twins(metrics, notebook, dataset, best, metric),
        published=tuple(p for p in published if p["protocol"] == protocol),
    )


def _by(records: pd.DataFrame, column: str) -> dict[str, dict[str, object]]:
    return {str(r[column]): r for r in records.to_dict("records")}


def _controls(block: pd.DataFrame, metric: str, features: str) -> dict[str, dict[str, object]]:
    """Return the controls' records of the metric, with the model's own features where there are several."""
    found = block[block["model"].isin(CONTROLS) & (block["metric"] == metric)]
    return _by(found.assign(same=found["features"] == features).sort_values("same"), "model")


def _twins(
    metrics: pd.DataFrame, notebook: str, dataset: str, best: pd.Series, metric: str
) -> dict[str, float]:
    """Return the same model's value under every grouped protocol of the same notebook and dataset."""
    same = (
        (metrics["notebook"] == notebook)
        & (metrics["dataset"] == dataset)
        & (metrics["metric"] == metric)
        & (metrics["model"] == best["model"])
        & (metrics["features"] == best["features"])
    )
    grouped = metrics[same & metrics["protocol"].astype(str).str.match("group_|loco")]
    return dict(zip(grouped["protocol"], grouped["value"]))
