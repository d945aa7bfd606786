"""Figures and tables of notebook 05: error by prompt case, paired differences, predicted against measured."""

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd
import plotly.graph_objects as go

from sselib.plots.models import interval_chart, protocol_text
from sselib.plots.parity import HELD_OUT_ROWS, UPPER_BOUNDS, parity_panels
from sselib.regression.evaluation import family_errors
from sselib.text import NGRAMS, TREES, TextData, load_words, text_models
from sselib.validation.metrics import with_interval

CASE_LABELS: dict[str, str] = {
    "case1_formula": "formula",
    "case2_symmetry": "formula, symmetry",
    "case3_disorder": "formula, disorder",
    "case4_both": "formula, symmetry, disorder",
}
_TICKS = dict(zip(CASE_LABELS, ("formula", "+ symmetry", "+ disorder", "+ both"), strict=True))


def error_by_case(
    records: pd.DataFrame, *, models: Sequence[str], protocols: Sequence[str], labels: Mapping[str, str]
) -> go.Figure:
    """Draw mae_bound with its interval against the prompt case, one panel per protocol.

    ``records`` are metric records of one data set, ``labels`` the words for models; ``1nn`` and the mean are
    drawn as lines across.
    """
    rows = records[records["metric"] == "mae_bound"]
    drawn = rows[rows["model"].isin(models)].assign(name=rows["model"].map(labels))
    drawn = drawn.sort_values("model", key=lambda column: column.map(list(models).index), kind="stable")
    figure = interval_chart(
        drawn, category="features", labels=_TICKS, name="name", panel="protocol", panels=protocols
    )
    for column, protocol in enumerate(protocols, start=1):
        for control, dash in (("1nn", "dot"), ("mean", "dash")):
            for value in rows.loc[(rows["protocol"] == protocol) & (rows["model"] == control), "value"]:
                line = {"line_dash": dash, "line_color": "#777", "line_width": 1}
                text = {"annotation_text": labels[control], "annotation_position": "bottom right"}
                figure.add_hline(value, **line, **text, row=1, col=column)
    return figure.update_layout(height=460, margin={"b": 90})


def parity_grid(predictions: pd.DataFrame, *, models: Sequence[str], cases: Sequence[str]) -> go.Figure:
    """Draw predicted against measured log10(S/cm) of held-out rows: a panel per model and case with rows.

    The counterpart of Kim et al.'s Figure 8 for one protocol; the panels stand model by model.
    """
    points = predictions.assign(
        kind=predictions["censored"].map({True: UPPER_BOUNDS, False: HELD_OUT_ROWS}),
        panel=predictions["model"] + "/" + predictions["features"],
        error=(predictions["y_pred"] - predictions["y_true"]).abs(),
    )
    errors = points.groupby("panel")["error"].agg(["mean", "size"])
    titles = {
        f"{m}/{c}": f"{m}<br><sup>{CASE_LABELS[c]}; MAE {errors.loc[f'{m}/{c}', 'mean']:.2f}, "
        f"n = {errors.loc[f'{m}/{c}', 'size']}</sup>"
        for m, c in product(models, cases)
        if f"{m}/{c}" in errors.index
    }
    return parity_panels(points[points["panel"].isin(titles)], titles=titles, columns=4)


def best_text_model(scores: pd.DataFrame, *, dataset: str, protocol: str, case: str = "") -> pd.Series:
    """Return the record with the lowest mae_bound of a text model, in one prompt case or in any."""
    rows = scores[(scores["dataset"] == dataset) & (scores["protocol"] == protocol)]
    rows = rows[(rows["metric"] == "mae_bound") & rows["model"].isin(text_models(rows))]
    return rows.loc[(rows[rows["features"] == case] if case else rows)["value"].idxmin()]


def mae_differences(scores: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """Return the paired differences: protocol, model, features, other, other_features, text, better.

    ``text`` is "value [low, high]" in log10 units, negative where the model is better than the other;
    ``better`` says whether the interval leaves out zero on that side.
    """
    start = "delta_mae_bound_vs_"
    rows = scores[(scores["dataset"] == dataset) & scores["metric"].str.startswith(start)]
    other = rows["metric"].str.removeprefix(start).str.partition("/")
    ends = rows[["value", "ci_low", "ci_high"]].itertuples(index=False)
    return rows[["protocol", "model", "features"]].assign(
        other=other[0],
        other_features=other[2],
        text=[with_interval(*e) for e in ends],
        better=rows["ci_high"] < 0,
    )


def comparison_lines(
    scores: pd.DataFrame, *, dataset: str, protocols: Sequence[str], labels: Mapping[str, str]
) -> list[str]:
    """Return the answer of notebook 05, three sentences with their numbers.

    The best text model under each protocol; which simple methods it beats from all information; what symmetry
    and disorder change. ``labels`` are the words for models.
    """
    deltas = mae_differences(scores, dataset=dataset).set_index(["protocol", "model", "features", "other"])[
        "text"
    ]
    errors, beaten, gains = [], [], []
    for protocol in protocols:
        best = best_text_model(scores, dataset=dataset, protocol=protocol)
        name = f"{labels.get(best['model'], best['model'])}, {CASE_LABELS[best['features']]}"
        errors.append(f"{best['value']:.2f} {protocol_text(protocol)} ({name})")
        model = best_text_model(scores, dataset=dataset, protocol=protocol, case="case4_both")["model"]
        rivals = [f"{labels[r]} {deltas[protocol, model, 'case4_both', r]}" for r in ("1nn", NGRAMS, TREES)]
        beaten.append(f"{protocol_text(protocol)}: {', '.join(rivals)}")
        model = best_text_model(scores, dataset=dataset, protocol=protocol, case="case1_formula")["model"]
        tags = {"symmetry": "case2_symmetry", "disorder": "case3_disorder"}
        added = [f"{tag} {deltas[protocol, model, c, model]}" for tag, c in tags.items()]
        gains.append(f"{protocol_text(protocol)}: {', '.join(added)}")
    return [
        f"Best text model, mean absolute error in log units: {'; '.join(errors)}.",
        "With all information in the text, its error minus that of simple methods on the same rows (below "
        f"zero it is better): {'; '.join(beaten)}.",
        f"What a tag changes in the error from the formula alone: {'; '.join(gains)}.",
    ]


def beside_kim(predictions: pd.DataFrame, data: TextData) -> pd.DataFrame:
    """Return the error of held-out rows by Kim et al.'s categories beside that of their language model.

    ``predictions`` are those of one model in the case and under the protocol that are theirs: formula and
    symmetry, random splits. Columns: category, n, mae_bound, kim_mae (log10 units; their own 499 rows).
    """
    errors = family_errors(predictions, data.table)
    found = errors[errors["kind"] == "kim"].rename(columns={"family": "category"})
    kim = pd.Series(load_words().kim_table_8, name="kim_mae")
    return found[["category", "n", "mae_bound"]].join(kim, on="category").reset_index(drop=True)
