"""Figures of notebook 04: errors by protocol and family, parity, SHAP, axis labels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sselib.figures import PALETTE
from sselib.plots.parity import Marks, parity_panels
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
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon")
_GREYS = {"mean": "#444444", "median": "#777777", "1nn": "#999999", "shuffled": "#bbbbbb"}
_TRAINING_ROWS, _TEST_ROWS = "training rows", "test rows"
_PARITY_MARKS = (
    Marks(_TRAINING_ROWS, "#bbbbbb", size=4),
    Marks(_TEST_ROWS),
    Marks(f"{_TEST_ROWS}, upper bounds", PALETTE[3], "triangle-left-open"),
)


def error_by_protocol(records: pd.DataFrame, *, noise: float = float("nan")) -> go.Figure:
    """Draw mae_bound with its interval, one column per protocol, from random to unlike splits.

    ``records`` are metric records of one data set; ``noise`` is the label noise in log units.
    """
    rows = records[records["metric"] == "mae_bound"]
    order = [p for p in PROTOCOL_LABELS if p in set(rows["protocol"])]
    names = list(dict.fromkeys(zip(rows["model"], rows["features"], strict=True)))
    names = [n for n in names if n[0] not in CONTROLS] + [n for n in names if n[0] in CONTROLS]
    figure = go.Figure()
    for k, (model, features) in enumerate(names):
        part = rows[(rows["model"] == model) & (rows["features"] == features)].set_index("protocol")
        part = part.reindex([p for p in order if p in part.index])
        offset = (k - (len(names) - 1) / 2) * 0.8 / len(names)
        figure.add_trace(
            interval_points(
                part,
                [order.index(p) + offset for p in part.index],
                model=model,
                label=CONTROL_LABELS.get(model, f"{model}, {features}"),
                k=k,
            )
        )
    if np.isfinite(noise):
        figure.add_hline(
            noise,
            line_dash="dot",
            line_color="#444",
            annotation_text=f"label noise {noise:.2f}",
            annotation_position="bottom left",
        )
    figure.update_xaxes(
        tickvals=list(range(len(order))), ticktext=[PROTOCOL_LABELS[p] for p in order], showgrid=False
    )
    figure.update_yaxes(title=f"mean absolute error, {LOG_UNITS}", rangemode="tozero")
    return figure.update_layout(
        height=480,
        legend={"orientation": "h", "y": -0.22},
        title="Error by protocol (bounds at their value; bars: 95 % interval)",
    )


def interval_points(part: pd.DataFrame, x: Sequence[float], *, model: str, label: str, k: int) -> go.Scatter:
    """Return the points of one model with their 95 % intervals; a control is a grey dash.

    ``part`` has the columns value, ci_low, ci_high and n; ``k`` picks colour and symbol.
    """
    is_control = model in CONTROLS
    return go.Scatter(
        x=list(x),
        y=part["value"],
        mode="markers",
        name=label,
        marker={
            "symbol": "line-ew-open" if is_control else _SYMBOLS[k % len(_SYMBOLS)],
            "size": 9,
            "color": _GREYS[model] if is_control else PALETTE[k % len(PALETTE)],
            "line": {"width": 2},
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": part["ci_high"] - part["value"],
            "arrayminus": part["value"] - part["ci_low"],
            "thickness": 1,
            "width": 3,
        },
        customdata=part["n"],
        hovertemplate=f"{label}: %{{y:.2f}}, n = %{{customdata}}<extra></extra>",
    )


def parity(points: pd.DataFrame, *, columns: Sequence[str]) -> go.Figure:
    """Draw predicted against measured log10(S/cm): one row per split, one column per feature set.

    ``points`` has the columns split, features, part (train or test), y_true, y_pred, censored.
    """
    splits = list(dict.fromkeys(points["split"]))
    bound = points["censored"].map({True: f"{_TEST_ROWS}, upper bounds", False: _TEST_ROWS})
    points = points.assign(kind=bound.where(points["part"] == "test", _TRAINING_ROWS))
    cells = [[points[(points["split"] == s) & (points["features"] == f)] for f in columns] for s in splits]
    titles = [
        f"{f.replace('kim_', '')}, {_flat(s)}<br><sup>{_parity_text(rows)}</sup>"
        for s, line in zip(splits, cells, strict=True)
        for f, rows in zip(columns, line, strict=True)
    ]
    figure = parity_panels(cells, titles=titles, marks=_PARITY_MARKS)
    return figure.update_layout(height=100 + 340 * len(splits), legend_y=-0.14)


def _flat(protocol: str) -> str:
    return PROTOCOL_LABELS.get(protocol, protocol).replace("<br>", " ")


def _parity_text(rows: pd.DataFrame) -> str:
    error = (rows["y_pred"] - rows["y_true"]).abs().groupby(rows["part"]).mean()
    return f"MAE {error['test']:.2f} test, {error['train']:.2f} train"


def family_bars(errors: pd.DataFrame, *, protocols: Sequence[str]) -> go.Figure:
    """Draw mae_bound per family under several protocols, the family with most rows on top.

    ``errors`` is `sselib.regression.evaluation.family_errors` of one model and one kind of family.
    """
    figure = _bars_by_family(errors, protocols=protocols, value="mae_bound", title="Error by family")
    for bar in figure.data:
        bar.update(text=[f"n = {n:.0f}" for n in bar.customdata[:, 0]], textposition="outside")
    figure.update_traces(
        textfont_size=10,
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.2f}, n = %{customdata[0]}<extra></extra>",
    )
    return figure.update_xaxes(title=f"mean absolute error, {LOG_UNITS}")


def _bars_by_family(table: pd.DataFrame, *, protocols: Sequence[str], value: str, title: str) -> go.Figure:
    """Draw a bar per family and protocol; the bars' data are n and, where the table has it, width."""
    rows = table[table["protocol"].isin(protocols)]
    order = rows.groupby("family")["n"].max().sort_values().index
    extra = [c for c in ("n", "width") if c in rows]
    figure = go.Figure()
    for k, protocol in enumerate(protocols):
        part = rows[rows["protocol"] == protocol].set_index("family").reindex(order).dropna(subset="n")
        bar = go.Bar(y=part.index, x=part[value], orientation="h", name=_flat(protocol))
        figure.add_trace(bar.update(marker_color=PALETTE[k], customdata=part[extra].to_numpy()))
    figure.update_yaxes(categoryorder="array", categoryarray=list(order), showgrid=False)
    return figure.update_layout(
        height=150 + 15 * len(order) * max(1, len(protocols)),
        barmode="group",
        title=title,
        legend={"traceorder": "reversed"},
    )


def beeswarm(values: pd.DataFrame, *, features: Sequence[str], seed: int = 0) -> go.Figure:
    """Draw SHAP values of held-out rows, one line of points per feature, coloured by the feature's rank.

    ``values`` is `sselib.regression.explain.shap_out_of_fold`; the first of ``features`` is drawn on top.
    """
    rows = values[values["feature"].isin(features)].copy()
    rows["level"] = rows.groupby("feature")["value"].rank(pct=True)
    place = {f: len(features) - k for k, f in enumerate(features)}
    jitter = np.random.default_rng(seed).uniform(-0.32, 0.32, len(rows))
    known = rows["level"].notna()
    figure = go.Figure(
        go.Scatter(
            x=rows.loc[~known, "shap"],
            y=(rows["feature"].map(place) + jitter)[~known],
            mode="markers",
            name="value missing",
            marker={"size": 3.5, "color": "#aaaaaa"},
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=rows.loc[known, "shap"],
            y=(rows["feature"].map(place) + jitter)[known],
            mode="markers",
            showlegend=False,
            text=rows.loc[known, "value"],
            marker={
                "size": 3.5,
                "color": rows.loc[known, "level"],
                "colorscale": "Cividis",
                "opacity": 0.8,
                "colorbar": {
                    "title": "feature value",
                    "tickvals": [0.05, 0.95],
                    "ticktext": ["low", "high"],
                    "len": 0.6,
                },
            },
            hovertemplate="value %{text:.3g}: SHAP %{x:.2f}<extra></extra>",
        )
    )
    figure.add_vline(0, line_color="#444", line_width=1)
    figure.update_yaxes(tickvals=list(place.values()), ticktext=list(place), showgrid=False)
    figure.update_xaxes(title=f"SHAP value, {LOG_UNITS}")
    return figure.update_layout(
        height=120 + 30 * len(features),
        title="SHAP values of held-out rows",
        showlegend=bool((~known).any()),
        legend={"orientation": "h", "y": -0.14},
    )


def dependence(values: pd.DataFrame, *, features: Sequence[str], units: dict[str, str]) -> go.Figure:
    """Draw SHAP value against feature value for held-out rows, one panel per feature, three in a line."""
    n_lines = -(-len(features) // 3)
    figure = make_subplots(n_lines, 3, shared_yaxes=True, horizontal_spacing=0.04, vertical_spacing=0.28)
    for k, feature in enumerate(features):
        rows = values[values["feature"] == feature]
        row, col = k // 3 + 1, k % 3 + 1
        figure.add_trace(
            go.Scatter(
                x=rows["value"],
                y=rows["shap"],
                mode="markers",
                showlegend=False,
                marker={"size": 4, "color": PALETTE[0], "opacity": 0.6},
            ),
            row=row,
            col=col,
        )
        title = _with_unit(feature, units.get(feature, ""))
        figure.update_xaxes(title={"text": title, "font": {"size": 11}}, row=row, col=col)
    figure.update_yaxes(title="SHAP value", col=1)
    return figure.update_layout(
        height=120 + 250 * n_lines, title=f"What the leading features add to the prediction, {LOG_UNITS}"
    )


def _with_unit(feature: str, unit: str) -> str:
    """Return "mean atomic radius (Angstrom)" for ``mean_atomic_radius_angstrom``."""
    name = feature.removesuffix(f"_{unit.lower()}").replace("_", " ")
    return name if unit in ("", "1") else f"{name} ({unit})"


def importance_bars(table: pd.DataFrame, *, by: str) -> go.Figure:
    """Draw mean |SHAP| with the standard deviation over folds, largest on top (`explain.importance`)."""
    rows = table.iloc[::-1]
    figure = go.Figure(
        go.Bar(
            x=rows["mean"],
            y=rows[by],
            orientation="h",
            marker_color=PALETTE[0],
            error_x={"type": "data", "array": rows["std"], "color": "#444", "thickness": 1},
        )
    )
    figure.update_xaxes(
        title=f"mean |SHAP| of held-out rows, {LOG_UNITS} (bar: standard deviation over folds)"
    )
    figure.update_yaxes(showgrid=False)
    return figure.update_layout(height=130 + 30 * len(rows), title=f"Importance by {by}")


def axis_labels(table: pd.DataFrame) -> go.Figure:
    """Draw mean |SHAP| of the lattice features as tabulated, relabelled and invariant.

    ``table`` is `sselib.regression.explain.axis_relabelling`; bars average the relabellings, points are the
    runs.
    """
    rows = table.dropna(subset="feature")
    variants = list(dict.fromkeys(rows["variant"]))
    figure = make_subplots(
        1,
        len(variants),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[
            f"{v}<br><sup>MAE {table.loc[table['variant'] == v, 'mae_bound'].mean():.2f}</sup>"
            for v in variants
        ],
    )
    for k, variant in enumerate(variants, start=1):
        part = rows[rows["variant"] == variant].sort_values("feature")
        mean = part.groupby("feature", sort=False)["mean_abs_shap"].mean()
        figure.add_trace(
            go.Bar(x=mean.index, y=mean, marker_color=PALETTE[0], showlegend=False), row=1, col=k
        )
        figure.add_trace(
            go.Scatter(
                x=part["feature"],
                y=part["mean_abs_shap"],
                mode="markers",
                showlegend=False,
                marker={"color": "#000000", "size": 6},
                error_y={"type": "data", "array": part["std_over_folds"], "thickness": 1},
            ),
            row=1,
            col=k,
        )
    figure.update_yaxes(title=f"mean |SHAP|, {LOG_UNITS}", col=1)
    figure.update_xaxes(tickangle=40)
    return figure.update_layout(height=430, margin={"t": 80, "b": 110})


def coverage_bars(coverage: pd.DataFrame, *, protocols: Sequence[str], nominal: float) -> go.Figure:
    """Draw the share of labels inside their interval per family, families with few rows left out.

    ``coverage`` is `sselib.regression.evaluation.coverage_by_family`; a line marks the ``nominal`` share.
    """
    rows = coverage[coverage["n"] >= 5].assign(percent=100 * coverage["coverage"])
    figure = _bars_by_family(rows, protocols=protocols, value="percent", title="Do the intervals hold?")
    figure.update_traces(
        hovertemplate="%{y}: %{x:.0f} %, n = %{customdata[0]:.0f}, mean width "
        "%{customdata[1]:.1f} log units<extra></extra>"
    )
    figure.add_vline(100 * nominal, line_dash="dot", line_color="#444")
    return figure.update_xaxes(title="labels inside their interval, %", range=[0, 103])


def learning_curves(curve: pd.DataFrame, *, noise: float) -> go.Figure:
    """Draw the error against the number of training rows, with the label noise as a line.

    ``curve`` is `sselib.regression.evaluation.learning_curve`; ``noise`` in log10 units.
    """
    names = {"mae_bound": "all rows, a bound as its value", "mae_uncensored": "rows without bounds"}
    figure = go.Figure(
        [
            go.Scatter(
                x=curve["n_train"],
                y=curve[column],
                mode="lines+markers",
                name=name,
                marker_color=PALETTE[k],
                marker_symbol=_SYMBOLS[k],
            )
            for k, (column, name) in enumerate(names.items())
        ]
    )
    if np.isfinite(noise):
        figure.add_hline(noise, line_dash="dot", line_color="#444", annotation_text="label noise")
    figure.update_xaxes(title="training rows", rangemode="tozero")
    figure.update_yaxes(title=f"mean absolute error, {LOG_UNITS}", rangemode="tozero")
    return figure.update_layout(height=380, title="What more data would bring")


def class_points(errors: pd.DataFrame, *, protocols: Sequence[str]) -> go.Figure:
    """Draw the error per class of conductivity with its interval, one panel per protocol.

    ``errors`` is `sselib.regression.residuals.class_errors`; controls are grey dashes.
    """
    figure = make_subplots(
        1,
        len(protocols),
        shared_yaxes=True,
        horizontal_spacing=0.02,
        subplot_titles=list(map(_flat, protocols)),
    )
    names = list(dict.fromkeys(zip(errors["model"], errors["features"], strict=True)))
    for column, protocol in enumerate(protocols, start=1):
        of_protocol = errors[errors["protocol"] == protocol]
        for k, (model, features) in enumerate(names):
            part = of_protocol[(of_protocol["model"] == model) & (of_protocol["features"] == features)]
            at = [CLASSES.index(c) + 0.14 * (k - (len(names) - 1) / 2) for c in part["conductivity_class"]]
            label = CONTROL_LABELS.get(model, f"{model}, {features}")
            points = interval_points(part, at, model=model, label=label, k=k)
            figure.add_trace(points.update(showlegend=column == 1, legendgroup=label), row=1, col=column)
        n = of_protocol.groupby("conductivity_class")["n"].max()
        texts = [f"{c}<br>n = {n.get(c, 0)}" for c in CLASSES]
        figure.update_xaxes(tickvals=list(range(len(CLASSES))), ticktext=texts, showgrid=False, col=column)
    figure.update_yaxes(rangemode="tozero").update_yaxes(title=f"mean absolute error, {LOG_UNITS}", col=1)
    figure.update_xaxes(tickfont_size=10, tickangle=0).update_annotations(font_size=12)
    return figure.update_layout(height=420, legend={"orientation": "h", "y": -0.22})


def spread_curves(binned: pd.DataFrame) -> go.Figure:
    """Draw the error of fifths of the rows against their spread, a panel per measure of spread.

    ``binned`` is `sselib.regression.residuals.binned_by_spread`; bars are 95 % intervals.
    """
    measures = list(dict.fromkeys(binned["measure"]))
    protocols = [p for p in PROTOCOL_LABELS if p in set(binned["protocol"])]
    figure = make_subplots(1, max(1, len(measures)), shared_yaxes=True, horizontal_spacing=0.04)
    for column, measure in enumerate(measures, start=1):
        for k, protocol in enumerate(protocols):
            part = binned[(binned["measure"] == measure) & (binned["protocol"] == protocol)]
            points = interval_points(part, part["spread"], model=protocol, label=_flat(protocol), k=k)
            points.update(mode="lines+markers", line={"width": 1}, marker_line_width=0, legendgroup=protocol)
            first = protocol not in {t.legendgroup for t in figure.data}
            if len(part):
                figure.add_trace(points.update(showlegend=first), row=1, col=column)
        figure.update_xaxes(title=f"{measure}, {LOG_UNITS}", rangemode="tozero", col=column)
    figure.update_yaxes(title=f"mean absolute error, {LOG_UNITS}", rangemode="tozero", col=1)
    figure.update_layout(height=430, legend={"orientation": "h", "y": -0.25})
    return figure.update_layout(title="Does a model know where it errs? (fifths of the rows)")
