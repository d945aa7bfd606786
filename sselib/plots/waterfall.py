"""How the contributions of features lead from a mean to one prediction."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from sselib.figures import PALETTE, SIGMA_LABEL


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
