"""What if the composition were different: a prediction that follows a slider.

The formula changes, so that everything that follows from composition changes together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pymatgen.core import Element

from sselib.errors import FormulaError
from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.materials.composition import parse_formula
from sselib.panels.display import FigureSlot
from sselib.panels.substitution import substitute

NOTEBOOK = "04_gbr_shap"
_SCALE = (-18.0, 0.0)  # log10(S/cm), ends of the drawn scale
_WIDE = {"layout": {"width": "520px"}, "style": {"description_width": "250px"}}


@dataclass(frozen=True)
class Answer:
    """A prediction in log10(S/cm) and its interval (NaN where there is none)."""

    y: float
    lower: float
    upper: float


def answer_html(answer: Answer, *, text: str) -> str:
    """Return a prediction as HTML: number, interval, and both on a scale of log10(S/cm)."""
    if not np.isfinite(answer.y):
        return f"<p>{text}</p>"
    interval = f" [{answer.lower:.2f}, {answer.upper:.2f}]" if np.isfinite(answer.lower) else ""
    number = f"<b>log10(σ / S cm⁻¹) = {answer.y:.2f}{interval}</b>, σ ≈ {10**answer.y:.1e} S/cm"
    return f"<p>{number}</p>{_scale_svg(answer)}<p><small>{text}</small></p>"


def _scale_svg(answer: Answer) -> str:
    """Return the scale as SVG: interval and prediction (dot)."""
    low, high = _SCALE

    def x(value: float) -> float:
        """Return where a value lies on the scale, px."""
        return 10 + 480 * (float(np.clip(value, low, high)) - low) / (high - low)

    ticks = "".join(
        f'<text x="{x(v):.0f}" y="38" font-size="11" text-anchor="middle" fill="#555">{v}</text>'
        for v in range(int(low), int(high) + 1, 2)
    )
    band = (
        f'<rect x="{x(answer.lower):.1f}" width="{x(answer.upper) - x(answer.lower):.1f}" y="9" height="10" '
        f'fill="{PALETTE[5]}" opacity="0.6"/>'
        if np.isfinite(answer.lower)
        else ""
    )
    return (
        '<svg width="500" height="42" role="img" aria-label="prediction on the scale of conductivity">'
        f'<line x1="10" x2="490" y1="24" y2="24" stroke="#888"/>{band}'
        f'<circle cx="{x(answer.y):.1f}" cy="14" r="6" fill="{PALETTE[0]}"/>{ticks}</svg>'
    )


class FormulaWhatIf:
    """A formula, an element to replace and a slider; ``view`` is the widget, ``answer`` the prediction.

    ``predict`` is that of `sselib.regression.conductivity_model.ConductivityModel`.
    """

    def __init__(self, predict: Callable[..., pd.DataFrame]) -> None:
        self.predict = predict
        self.answer = Answer(np.nan, np.nan, np.nan)
        symbols = [e.symbol for e in Element if e.Z <= 83 and e.common_oxidation_states]
        self.formula = widgets.Text("Li7La3Zr2O12", description="formula", continuous_update=False)
        self.replaced = widgets.Dropdown(description="replace", layout={"width": "170px"})
        self.by = widgets.Dropdown(options=["", *symbols], description="by", layout={"width": "170px"})
        self.fraction = widgets.FloatSlider(value=0, min=0, max=1, step=0.01, description="fraction", **_WIDE)
        self.balance = widgets.Checkbox(value=True, description="Li balances the charge", indent=False)
        self.output, self.curve = widgets.HTML(), FigureSlot()
        self.formula.observe(lambda _: self.read(), names="value")
        for part in (self.replaced, self.by, self.balance):
            part.observe(lambda _: self.update(redraw=True), names="value")
        self.fraction.observe(lambda _: self.update(), names="value")
        row = widgets.Box(
            [self.formula, self.replaced, self.by, self.balance], layout=widgets.Layout(flex_flow="row wrap")
        )
        self.view = widgets.VBox([row, self.fraction, self.output, self.curve])
        self.read()

    def read(self) -> None:
        """Take over a new formula: offer its elements, and start without a replacement."""
        try:
            symbols = list(parse_formula(self.formula.value).get_el_amt_dict())
        except FormulaError as error:
            self.output.value = f"<p>{error}</p>"
            return
        self.replaced.options = [s for s in symbols if s != "Li"] or symbols
        self.replaced.value = self.replaced.options[0]
        self.update(redraw=True)

    @property
    def current(self) -> str:
        """The formula as the controls stand. Raises `FormulaError` where it is impossible."""
        if not self.by.value or self.by.value == self.replaced.value:
            return self.formula.value
        return self._replaced_by(self.fraction.value)

    def _replaced_by(self, fraction: float) -> str:
        return substitute(
            self.formula.value,
            replaced=self.replaced.value,
            by=self.by.value,
            fraction=fraction,
            balance=self.balance.value,
        )

    def update(self, *, redraw: bool = False) -> None:
        """Predict for the present formula; ``redraw`` the curve over all fractions too."""
        try:
            formula = self.current
            row = self.predict([formula]).iloc[0]
        except FormulaError as error:
            self.answer, self.output.value = Answer(np.nan, np.nan, np.nan), f"<p>{error}</p>"
            return
        self.answer = Answer(*(float(row[c]) for c in ("log10_sigma", "lower", "upper")))
        text = f"{formula}: composition alone, whatever its structure; 90 % interval."
        if not np.isfinite(self.answer.y):
            text = f"{formula} cannot be predicted: expected a formula with lithium."
        self.output.value = answer_html(self.answer, text=text)
        if redraw:
            chosen = self.by.value and self.by.value != self.replaced.value
            self.curve.put(self.draw() if chosen else None)

    def draw(self) -> go.Figure:
        """Return the prediction over the fractions for which a formula exists."""
        points = {}
        for fraction in np.linspace(0, 1, 26):
            try:
                points[float(fraction)] = self._replaced_by(float(fraction))
            except FormulaError:
                break  # no lithium left from here on
        table = self.predict(list(points.values())).assign(
            fraction=list(points), formula=list(points.values())
        )
        return substitution_curve(
            table, title=f"{self.formula.value}: {self.replaced.value} → {self.by.value}"
        )


def substitution_curve(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Draw predictions (log10_sigma, lower, upper, log10(S/cm)) over the fraction replaced."""
    figure = go.Figure()
    x = table["fraction"]
    figure.add_scatter(
        x=x, y=table["upper"], mode="lines", line={"width": 0}, hoverinfo="skip", showlegend=False
    )
    band = {"fill": "tonexty", "fillcolor": "rgba(86,180,233,0.3)", "line": {"width": 0}}
    figure.add_scatter(x=x, y=table["lower"], mode="lines", hoverinfo="skip", name="90 % interval", **band)
    figure.add_scatter(
        x=x,
        y=table["log10_sigma"],
        text=table["formula"],
        mode="lines+markers",
        name="prediction",
        line={"color": PALETTE[0]},
        hovertemplate="%{text}<br>log10(σ) = %{y:.2f}<extra></extra>",
    )
    figure.update_xaxes(title="fraction replaced (no unit)", range=[-0.02, 1.02])
    figure.update_yaxes(title=SIGMA_LABEL)
    return figure.update_layout(title=title, height=340, legend={"orientation": "h", "y": 1.15, "x": 0.5})
