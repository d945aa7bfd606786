"""The headline table: per protocol the best model by a fixed rule, its controls and the published numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from sselib.columns import CONTROL_PREFIX, CONTROLS, SELECTION_CONTROL
from sselib.errors import SchemaError
from sselib.paths import project_root
from sselib.runfolder import read_json
from sselib.schemas import METRICS

# A metric that judges models, and whether the lowest value is best; the first that a notebook has decides.
RULE: tuple[tuple[str, bool], ...] = (("mae_bound", True), ("auc_pr", False))
# One table per task: the metric of the rule, its heading, and the other metrics that are shown.
TASKS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    (
        "mae_bound",
        "Conductivity: errors in log10(S/cm)",
        {"mae_floor": "MAE floor", "mae_uncensored": "MAE uncensored", "r2_bound": "R²", "srcc_bound": "ρ"},
    ),
    ("auc_pr", "Superionic or not: AUC-PR at 1e-4 S/cm", {"mcc": "MCC", "brier": "Brier"}),
)
_CLASSIFICATION = frozenset({"AUC-PR", "MCC"})  # published metrics that belong to the second table
# One model per notebook is chosen under the first of these protocols, and shown under all of them.
CHOSEN_UNDER: tuple[str, ...] = ("group_chemsys", "group_doi", "group_material", "group_family", "loco")
RULE_TEXT = (
    "One model per notebook is shown everywhere: the one with the lowest mae_bound (highest auc_pr for "
    "classification) under group_chemsys on the notebook's first dataset, or the next grouped protocol that "
    "was run. It is not chosen anew per protocol; only its own group_chemsys number is favoured a little by "
    "the choice. Where it did not take part, the best of that block is shown and marked with a star."
)
PROTOCOL_ORDER: tuple[str, ...] = (
    "obelix_official",
    "recent",
    "random_stratified",
    "kfold5",
    "fresh_tenth",
    "group_material",
    "group_doi",
    "group_chemsys",
    "group_family",
    "loco",
    "loco_paper",
)
_RANDOM = ("random_stratified", "kfold5", "fresh_tenth")
_COLUMNS = list(METRICS.columns)


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
    records = read_json(path)
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
    chosen = {name: _chosen(block) for name, block in metrics.groupby("notebook", sort=False)}
    order = {key: k for k, key in enumerate(dict.fromkeys(zip(metrics["notebook"], metrics["dataset"])))}
    rows = []
    for _, data in metrics.groupby(["notebook", "dataset"], sort=False):
        for _, block in data.groupby("protocol", sort=False):
            rows.append(_headline(block, data, published, chosen[block["notebook"].iloc[0]]))
    return sorted((r for r in rows if r), key=lambda r: (order[r.notebook, r.dataset], _position(r.protocol)))


def _chosen(metrics: pd.DataFrame) -> tuple[str, str] | None:
    """Return (model, features) of one notebook by the rule, None if no grouped protocol was scored."""
    judged = _judged(metrics)
    judged = judged[judged["dataset"] == judged["dataset"].iloc[0]] if len(judged) else judged
    for protocol in CHOSEN_UNDER:
        block = judged[judged["protocol"] == protocol].dropna(subset="value")
        if len(block):
            best = _best(block)
            return best["model"], best["features"]
    return None


def _judged(records: pd.DataFrame) -> pd.DataFrame:
    """Return the records of the metrics of the rule, without controls."""
    names = records["model"].astype(str)
    is_control = names.isin([*CONTROLS, SELECTION_CONTROL]) | names.str.startswith(CONTROL_PREFIX)
    return records[~is_control & records["metric"].isin([metric for metric, _ in RULE])]


def _best(models: pd.DataFrame) -> pd.Series:
    """Return the record with the best value of the first metric of the rule that is there."""
    metric, lowest = next((m, low) for m, low in RULE if (models["metric"] == m).any())
    found = models[models["metric"] == metric].dropna(subset="value")
    return found.sort_values(["value", "model", "features"], ascending=[lowest, True, True]).iloc[0]


def _position(protocol: str) -> tuple[int, str]:
    known = PROTOCOL_ORDER.index(protocol) if protocol in PROTOCOL_ORDER else len(PROTOCOL_ORDER)
    return known, protocol


def _headline(
    block: pd.DataFrame,
    data: pd.DataFrame,
    published: list[dict[str, object]],
    chosen: tuple[str, str] | None,
) -> Headline | None:
    """Return the row of one protocol, or None if it holds no model judged by a metric of the rule.

    ``block`` are the records of the protocol, ``data`` those of all protocols of its notebook and data set.
    """
    judged = _judged(block).dropna(subset="value")
    if judged.empty:
        return None
    same = judged[[pair == chosen for pair in zip(judged["model"], judged["features"])]]
    best = _best(same if len(same) else judged)
    metric, protocol = best["metric"], best["protocol"]
    own = data[(data["model"] == best["model"]) & (data["features"] == best["features"])]
    grouped = own[(own["metric"] == metric) & own["protocol"].astype(str).str.match("group_|loco")]
    controls = block[block["model"].isin(CONTROLS) & (block["metric"] == metric)]
    controls = controls.assign(same=controls["features"] == best["features"]).sort_values("same")
    return Headline(
        notebook=best["notebook"],
        dataset=best["dataset"],
        protocol=protocol,
        model=best["model"] if len(same) else f"{best['model']}*",
        features=best["features"],
        metric=metric,
        scores=_by(own[own["protocol"] == protocol], "metric"),
        controls=_by(controls, "model"),
        twins=dict(zip(grouped["protocol"], grouped["value"])),
        published=tuple(p for p in published if _stands_beside(p, protocol, metric)),
    )


def _stands_beside(number: Mapping[str, object], protocol: str, metric: str) -> bool:
    """True for a published number of the same task, under the protocol or its ``_paper`` variant."""
    same_task = (number["metric"] in _CLASSIFICATION) == (metric == "auc_pr")
    return same_task and number["protocol"] in (protocol, f"{protocol}_paper")


def _by(records: pd.DataFrame, column: str) -> dict[str, dict[str, object]]:
    return {str(r[column]): r for r in records.to_dict("records")}
