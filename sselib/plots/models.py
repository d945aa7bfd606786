"""Figures of notebook 04 and its appendix: errors with intervals, parity, families, SHAP, axis labels."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from sselib.figures import BARS_Y, PALETTE, SIGMA_LABEL, plain_facets, with_bars
from sselib.plots.features import axis_title
from sselib.plots.parity import HELD_OUT_ROWS, TRAINING_ROWS, UPPER_BOUNDS, parity_panels
from sselib.regression.models import CONTROLS
from sselib.regression.residuals import CLASSES

PROTOCOL_LABELS: dict[str, str] = {
    "random_stratified": "random<br>80/20",
    "kfold5": "random<br>5-fold",
    "fresh_tenth": "fresh<br>tenth",
    "group_material": "by near-duplicate<br>or publication",
    "group_doi": "by<br>publication",
    "group_chemsys": "by chemical<br>system",
    "group_family": "by<br>family",
    "loco": "by composition<br>cluster",
    "obelix_official": "OBELiX<br>official",
    "recent": "recent<br>electrolytes",
}
LOG_UNITS = "log<sub>10</sub> units"
CONTROL_LABELS = {
    "mean": "mean",
    "median": "median",
    "1nn": "nearest composition",
    "shuffled": "shuffled labels",
}
ERROR = f"mean absolute error, {LOG_UNITS}"
_SHAP = f"SHAP value, {LOG_UNITS}"
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon")
_GREYS = {"mean": "#444444", "median": "#777777", "1nn": "#999999", "shuffled": "#bbbbbb"}


def interval_chart(
    rows: pd.DataFrame,
    *,
    category: str,
    labels: Mapping[str, str],
    name: str = "",
    panel: str = "",
    panels: Sequence[str] = (),
) -> go.Figure:
    """Draw values with their 95 % intervals: models side by side for each category, one panel per protocol.

    ``rows`` has model, features, value, ci_low, ci_high, n and the columns named ``category`` (``labels``
    gives the order and text of its values), ``name`` (of the points, else model and features) and ``panel``.
    Controls are grey dashes, and come last.
    """
    rows = with_bars(rows, "value", "ci_low", "ci_high").assign(
        name=rows[name] if name else _named(rows),
        at=rows[category].map(labels),
        panel=rows[panel].map(protocol_text) if panel else "",
    )
    models = dict(sorted(zip(rows["name"], rows["model"], strict=True), key=lambda pair: pair[1] in CONTROLS))
    symbols = [
        "line-ew-open" if model in CONTROLS else _SYMBOLS[k % len(_SYMBOLS)]
        for k, model in enumerate(models.values())
    ]
    titles = [protocol_text(p) for p in panels]
    figure = px.scatter(
        rows,
        x="at",
        y="value",
        **BARS_Y,
        color="name",
        symbol="name",
        facet_col="panel" if panel else None,
        facet_col_spacing=0.02,
        hover_data={"n": True, "at": False, "name": False, "panel": False, "value": ":.2f"},
        category_orders={"at": list(labels.values()), "name": list(models), "panel": titles},
        color_discrete_map={
            m: _GREYS.get(models[m], PALETTE[k % len(PALETTE)]) for k, m in enumerate(models)
        },
        symbol_map=dict(zip(models, symbols, strict=True)),
        labels={"at": "", "value": ERROR, "name": ""},
    )
    figure.update_traces(marker={"size": 9, "line_width": 2}, error_y={"thickness": 1, "width": 3})
    figure.for_each_trace(lambda trace: trace.update(offsetgroup=trace.name))
    figure.update_xaxes(showgrid=False).update_yaxes(rangemode="tozero")
    legend = {"orientation": "h", "y": -0.22}
    return plain_facets(figure).update_layout(scattermode="group", scattergap=0.2, height=480, legend=legend)


def _named(rows: pd.DataFrame) -> pd.Series:
    both = rows["model"].astype(str) + ", " + rows["features"].astype(str)
    return rows["model"].map(CONTROL_LABELS).fillna(both)


def protocol_text(protocol: str) -> str:
    """Return a protocol in the field's words, on one line."""
    return PROTOCOL_LABELS.get(protocol, protocol).replace("<br>", " ")


def _noise_line(figure: go.Figure, noise: float) -> go.Figure:
    """Draw the label noise across, where it is known."""
    if np.isfinite(noise):
        text = {"annotation_text": f"label noise {noise:.2f}", "annotation_position": "bottom left"}
        figure.add_hline(noise, line_dash="dot", line_color="#444", **text)
    return figure


def error_by_protocol(records: pd.DataFrame, *, noise: float = float("nan")) -> go.Figure:
    """Draw mae_bound with its interval, one column per protocol, from random to unlike splits.

    ``records`` are metric records of one data set; ``noise`` is the label noise in log units.
    """
    rows = records[records["metric"] == "mae_bound"]
    labels = {p: text for p, text in PROTOCOL_LABELS.items() if p in set(rows["protocol"])}
    figure = interval_chart(rows[rows["protocol"].isin(labels)], category="protocol", labels=labels)
    title = "Error by protocol (bounds at their value; bars: 95 % interval)"
    return _noise_line(figure.update_layout(title=title), noise)


def class_points(errors: pd.DataFrame, *, protocols: Sequence[str]) -> go.Figure:
    """Draw the error per class of conductivity with its interval, one panel per protocol.

    ``errors`` is `sselib.regression.residuals.class_errors`; controls are grey dashes.
    """
    labels = {c: c for c in CLASSES}
    figure = interval_chart(
        errors, category="conductivity_class", labels=labels, panel="protocol", panels=protocols
    )
    return figure.update_xaxes(tickfont_size=10, tickangle=30).update_annotations(font_size=12)


def width_curves(binned: pd.DataFrame) -> go.Figure:
    """Draw the error of fifths of the rows against the width of their interval, a line per protocol.

    ``binned`` is `sselib.regression.residuals.binned_by_width`; bars are 95 % intervals.
    """
    rows = with_bars(binned, "value", "ci_low", "ci_high").assign(
        protocol=binned["protocol"].map(protocol_text)
    )
    figure = px.line(
        rows,
        x="width",
        y="value",
        **BARS_Y,
        color="protocol",
        symbol="protocol",
        hover_data=["n"],
        category_orders={
            "protocol": [protocol_text(p) for p in PROTOCOL_LABELS if p in set(binned["protocol"])]
        },
        color_discrete_sequence=list(PALETTE),
        labels={"width": f"width of the interval, {LOG_UNITS}", "value": ERROR, "protocol": ""},
    )
    figure.update_traces(marker_size=9, line_width=1, error_y={"thickness": 1, "width": 3})
    figure.update_xaxes(rangemode="tozero").update_yaxes(rangemode="tozero")
    return figure.update_layout(height=430, title="Does the model know where it errs? (fifths of the rows)")


def parity(points: pd.DataFrame, *, columns: Sequence[str]) -> go.Figure:
    """Draw predicted against measured log10(S/cm): one row per split, one column per feature set.

    ``points`` has the columns split, features, part (train or test), y_true, y_pred, censored.
    """
    kind = points["censored"].map({True: UPPER_BOUNDS, False: HELD_OUT_ROWS})
    points = points[points["features"].isin(columns)].assign(
        kind=kind.where(points["part"] == "test", TRAINING_ROWS),
        panel=points["split"] + "/" + points["features"],
        error=(points["y_pred"] - points["y_true"]).abs(),
    )
    errors = points.pivot_table(index="panel", columns="part", values="error", aggfunc="mean")
    titles = {
        f"{split}/{name}": f"{name.replace('kim_', '')}, {protocol_text(split)}<br>"
        f"<sup>MAE {errors.loc[f'{split}/{name}', 'test']:.2f} test, "
        f"{errors.loc[f'{split}/{name}', 'train']:.2f} train</sup>"
        for split in dict.fromkeys(points["split"])
        for name in columns
    }
    return parity_panels(points, titles=titles, columns=len(columns))


def family_bars(errors: pd.DataFrame, *, protocols: Sequence[str]) -> go.Figure:
    """Draw mae_bound per family under several protocols, the family with most rows on top.

    ``errors`` is `sselib.regression.evaluation.family_errors` of one model and one kind of family.
    """
    figure = _bars_by_family(errors, protocols=protocols, value="mae_bound", extra=["n", "bias"])
    return figure.update_layout(title="Error by family").update_xaxes(title=ERROR)


def coverage_bars(coverage: pd.DataFrame, *, protocols: Sequence[str], nominal: float) -> go.Figure:
    """Draw the share of labels inside their interval per family, families with few rows left out.

    ``coverage`` is `sselib.regression.residuals.coverage_by_family`; a line marks the ``nominal`` share.
    """
    rows = coverage[coverage["n"] >= 5].assign(percent=100 * coverage["coverage"])
    figure = _bars_by_family(rows, protocols=protocols, value="percent", extra=["n", "width"])
    figure.add_vline(100 * nominal, line_dash="dot", line_color="#444")
    figure.update_xaxes(title="labels inside their interval, %", range=[0, 103])
    return figure.update_layout(title="Do the intervals hold?")


def _bars_by_family(
    table: pd.DataFrame, *, protocols: Sequence[str], value: str, extra: list[str]
) -> go.Figure:
    rows = table[table["protocol"].isin(protocols)]
    rows = rows.assign(held_out=rows["protocol"].map(protocol_text))
    order = list(rows.groupby("family")["n"].max().sort_values(ascending=False).index)
    figure = px.bar(
        rows,
        x=value,
        y="family",
        color="held_out",
        barmode="group",
        orientation="h",
        hover_data=extra,
        category_orders={"family": order, "held_out": [protocol_text(p) for p in protocols]},
        color_discrete_sequence=list(PALETTE),
        labels={"held_out": "", "family": ""},
    )
    return figure.update_layout(height=150 + 15 * len(order) * max(1, len(protocols)))


def beeswarm(values: pd.DataFrame, *, features: Sequence[str], seed: int = 0) -> go.Figure:
    """Draw SHAP values of held-out rows, one line of points per feature, coloured by the feature's rank.

    ``values`` is `sselib.regression.explain.shap_out_of_fold`; the first of ``features`` is drawn on top. A
    point without a value is grey.
    """
    place = {f: len(features) - k for k, f in enumerate(features)}
    rows = values[values["feature"].isin(features)]
    jitter = np.random.default_rng(seed).uniform(-0.32, 0.32, len(rows))
    rows = rows.assign(
        level=rows.groupby("feature")["value"].rank(pct=True), y=rows["feature"].map(place) + jitter
    )
    known = rows["level"].notna()
    scale = {"title": "feature value", "tickvals": [0.05, 0.95], "ticktext": ["low", "high"], "len": 0.6}
    figure = px.scatter(rows[known], x="shap", y="y", color="level", hover_name="feature", opacity=0.8)
    figure.update_traces(
        customdata=rows.loc[known, "value"], hovertemplate="value %{customdata:.3g}: %{x:.2f}"
    )
    figure.add_scatter(
        x=rows.loc[~known, "shap"], y=rows.loc[~known, "y"], mode="markers", marker_color="#aaaaaa"
    )
    figure.update_traces(marker_size=3.5, showlegend=False).add_vline(0, line_color="#444", line_width=1)
    figure.update_yaxes(tickvals=list(place.values()), ticktext=list(place), showgrid=False, title="")
    figure.update_coloraxes(colorscale="Cividis", colorbar=scale).update_xaxes(title=_SHAP)
    return figure.update_layout(height=120 + 30 * len(features), title="SHAP values of held-out rows")


def dependence(values: pd.DataFrame, *, features: Sequence[str], units: Mapping[str, str]) -> go.Figure:
    """Draw SHAP value against feature value for held-out rows, one panel per feature, three in a line."""
    titles = {f: axis_title(f, units.get(f, "")) for f in features}
    rows = values[values["feature"].isin(features)]
    figure = px.scatter(
        rows.assign(panel=rows["feature"].map(titles)),
        x="value",
        y="shap",
        facet_col="panel",
        facet_col_wrap=3,
        facet_row_spacing=0.22,
        category_orders={"panel": list(titles.values())},
        color_discrete_sequence=[PALETTE[0]],
        opacity=0.6,
        labels={"value": "", "shap": "SHAP value"},
    )
    plain_facets(figure).update_annotations(font_size=11)
    figure.update_traces(marker_size=4).update_xaxes(matches=None, showticklabels=True)
    title = f"What the leading features add to the prediction, {LOG_UNITS}"
    return figure.update_layout(height=120 + 250 * -(-len(features) // 3), title=title)


def importance_bars(table: pd.DataFrame, *, by: str) -> go.Figure:
    """Draw mean |SHAP| with the standard deviation over folds, largest on top (`explain.importance`)."""
    figure = px.bar(
        table.iloc[::-1], x="mean", y=by, error_x="std", color_discrete_sequence=[PALETTE[0]], labels={by: ""}
    )
    figure.update_xaxes(title=f"mean |SHAP| of held-out rows, {LOG_UNITS} (bar: spread over folds)")
    return figure.update_layout(height=130 + 30 * len(table), title=f"Importance by {by}")


def axis_labels(table: pd.DataFrame) -> go.Figure:
    """Draw mean |SHAP| of the lattice features as tabulated, relabelled and invariant, with its fold spread.

    ``table`` is `sselib.regression.explain.axis_relabelling`; a bar averages the relabellings.
    """
    error = table.groupby("variant", sort=False)["mae_bound"].mean()
    rows = table.dropna(subset="feature").groupby(["variant", "feature"], sort=False, as_index=False)
    rows = rows[["mean_abs_shap", "std_over_folds"]].mean()
    figure = px.bar(
        rows.assign(panel=[f"{v}<br><sup>MAE {error[v]:.2f}</sup>" for v in rows["variant"]]),
        x="feature",
        y="mean_abs_shap",
        error_y="std_over_folds",
        facet_col="panel",
        color_discrete_sequence=[PALETTE[0]],
        labels={"mean_abs_shap": f"mean |SHAP|, {LOG_UNITS}", "feature": ""},
    )
    plain_facets(figure).update_xaxes(matches=None, tickangle=40)
    return figure.update_layout(height=430, margin={"t": 80, "b": 110})


def learning_curves(curve: pd.DataFrame, *, noise: float) -> go.Figure:
    """Draw the error against the number of training rows, with the label noise as a line.

    ``curve`` is `sselib.regression.evaluation.learning_curve`; ``noise`` in log10 units.
    """
    names = {"mae_bound": "all rows, a bound as its value", "mae_uncensored": "rows without bounds"}
    figure = px.line(
        curve.rename(columns=names),
        x="n_train",
        y=list(names.values()),
        markers=True,
        color_discrete_sequence=list(PALETTE),
        labels={"n_train": "training rows", "value": ERROR, "variable": ""},
    )
    figure.update_xaxes(rangemode="tozero").update_yaxes(rangemode="tozero")
    return _noise_line(figure.update_layout(height=380, title="What more data would bring"), noise)


def shap_waterfall(labels: Sequence[str], shap: Sequence[float], *, base: float, title: str) -> go.Figure:
    """Draw SHAP values from ``base``, the mean prediction, to the prediction; all in log10(S/cm).

    ``labels`` name the features with their values, one for each of ``shap``.
    """
    path = base + np.cumsum([0.0, *shap])
    figure = go.Figure(
        go.Waterfall(
            orientation="h",
            measure=["absolute", *["relative"] * len(shap), "total"],
            x=[base, *shap, 0],
            y=["mean of the training rows", *labels, "prediction"],
            text=[f"{base:.2f}", *(f"{v:+.2f}" for v in shap), f"{path[-1]:.2f}"],
            increasing={"marker": {"color": PALETTE[3]}},
            decreasing={"marker": {"color": PALETTE[0]}},
            totals={"marker": {"color": "#777777"}},
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}<br>%{text}<extra></extra>",
        )
    )
    margin = 0.35 * max(np.ptp(path), 0.5)
    figure.update_xaxes(title=f"predicted {SIGMA_LABEL}", range=[path.min() - margin, path.max() + margin])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure.update_layout(height=460, title=title, showlegend=False)
