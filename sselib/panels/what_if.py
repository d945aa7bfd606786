"""What if the composition were different: a prediction that follows a slider.

Part of an element is replaced by another and lithium balances the charge, so that everything that follows
from composition changes together.
"""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from pymatgen.core import Element

from sselib.errors import FormulaError
from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.materials.composition import parse_formula
from sselib.panels.display import WRAP, FigureSlot
from sselib.screening.candidates import formula_of_amounts

_WIDE = {"layout": {"width": "520px"}, "style": {"description_width": "250px"}}
_ANIONS = frozenset({"N", "O", "S", "Se", "Te", "F", "Cl", "Br", "I"})


def usual_charge(symbol: str) -> int:
    """Return the charge of an element in most electrolytes: the anion's, else the highest common one.

    Raises `FormulaError` for an unknown element, or one without a common oxidation state (noble gases).
    """
    if not Element.is_valid_symbol(symbol):
        raise FormulaError(f"{symbol!r} is no element: expected a symbol such as Zr")
    states = Element(symbol).common_oxidation_states
    if not states:
        raise FormulaError(f"{symbol} has no common oxidation state, so no charge can be balanced for it")
    return min(states) if symbol in _ANIONS else max(states)


def substitute(formula: str, *, replaced: str, by: str, fraction: float, balance: bool = True) -> str:
    """Return the formula with ``fraction`` (0 to 1) of one element replaced by another.

    With ``balance`` the amount of Li changes by the difference of charge, e.g. Li7La3Zr2O12 with a quarter
    of Zr replaced by Ta is Li6.5La3Zr1.5Ta0.5O12. Raises `FormulaError` for an unreadable formula, an
    element that is not in it, a fraction outside 0 to 1, or where less than no lithium would be left.
    """
    amounts = dict(parse_formula(formula).get_el_amt_dict())
    if replaced not in amounts:
        raise FormulaError(f"{formula} holds no {replaced}: expected one of {', '.join(amounts)}")
    if not 0 <= fraction <= 1:
        raise FormulaError(f"the fraction {fraction} is impossible: expected 0 to 1")
    charges = (usual_charge(replaced), usual_charge(by))
    moved = fraction * amounts[replaced]
    amounts[replaced] -= moved
    amounts[by] = amounts.get(by, 0.0) + moved
    if balance and "Li" not in (replaced, by):
        amounts["Li"] = amounts.get("Li", 0.0) + moved * (charges[0] - charges[1])
    if amounts.get("Li", 0.0) <= 0:
        raise FormulaError(
            f"{formula} with {fraction:.2f} of {replaced} as {by} would have no lithium left: replace less, "
            "or do not balance the charge"
        )
    return formula_of_amounts(amounts)


class FormulaWhatIf:
    """A formula, an element to replace and a slider; ``view`` is the widget to display.

    ``predict`` is that of `sselib.regression.conductivity_model.ConductivityModel`; ``predicted`` holds its
    log10_sigma, lower and upper, log10(S/cm).
    """

    def __init__(self, predict: Callable[..., pd.DataFrame]) -> None:
        self.predict = predict
        symbols = [e.symbol for e in Element if e.Z <= 83 and e.common_oxidation_states]
        narrow = {"layout": {"width": "170px"}}
        self.formula = widgets.Text("Li7La3Zr2O12", description="formula", continuous_update=False)
        self.replaced = widgets.Dropdown(description="replace", **narrow)
        self.by = widgets.Dropdown(options=["", *symbols], description="by", **narrow)
        self.fraction = widgets.FloatSlider(value=0, min=0, max=1, step=0.01, description="fraction", **_WIDE)
        self.balance = widgets.Checkbox(value=True, description="Li balances the charge", indent=False)
        self.output, self.curve = widgets.HTML(), FigureSlot()
        self.formula.observe(lambda _: self.read(), names="value")
        for part in (self.replaced, self.by, self.balance):
            part.observe(lambda _: self.update(redraw=True), names="value")
        self.fraction.observe(lambda _: self.update(), names="value")
        row = widgets.Box([self.formula, self.replaced, self.by, self.balance], layout=WRAP)
        self.view = widgets.VBox([row, self.fraction, self.output, self.curve])
        self.read()

    def read(self) -> None:
        """Take over a new formula: offer its elements, and start without a replacement."""
        try:
            symbols = list(parse_formula(self.formula.value).get_el_amt_dict())
        except FormulaError as error:
            self.output.value = f"<p>{escape(str(error))}</p>"
            return
        self.replaced.options = [s for s in symbols if s != "Li"] or symbols
        self.replaced.value = self.replaced.options[0]
        self.update(redraw=True)

    def replaced_by(self, fraction: float) -> str:
        """Return the formula with that fraction replaced. Raises `FormulaError` where it is impossible."""
        if not self.by.value or self.by.value == self.replaced.value:
            return self.formula.value
        asked = {"replaced": self.replaced.value, "by": self.by.value, "balance": self.balance.value}
        return substitute(self.formula.value, fraction=fraction, **asked)

    def update(self, *, redraw: bool = False) -> None:
        """Predict for the present formula; ``redraw`` the curve over all fractions too."""
        self.predicted = pd.Series(np.nan, index=["log10_sigma", "lower", "upper"])
        try:
            formula = self.replaced_by(self.fraction.value)
            self.predicted = self.predict([formula]).iloc[0][list(self.predicted.index)].astype(float)
        except FormulaError as error:
            self.output.value = f"<p>{escape(str(error))}</p>"
            return
        self.output.value = _in_words(formula, *self.predicted)
        if redraw:
            chosen = self.by.value and self.by.value != self.replaced.value
            self.curve.put(self.draw() if chosen else None)

    def draw(self) -> go.Figure:
        """Return the prediction with its interval over the fractions for which a formula exists."""
        points = {}
        for fraction in np.linspace(0, 1, 26):
            try:
                points[float(fraction)] = self.replaced_by(float(fraction))
            except FormulaError:
                break  # no lithium left from here on
        table = self.predict(list(points.values())).assign(
            fraction=list(points), formula=list(points.values())
        )
        labels = {"fraction": "fraction replaced (no unit)", "log10_sigma": SIGMA_LABEL}
        figure = px.line(
            table, x="fraction", y="log10_sigma", markers=True, hover_name="formula", labels=labels
        )
        figure.update_traces(line_color=PALETTE[0])
        edge = {
            "x": table["fraction"],
            "mode": "lines",
            "line_width": 0,
            "hoverinfo": "skip",
            "showlegend": False,
        }
        figure.add_scatter(**edge, y=table["upper"])
        figure.add_scatter(**edge, y=table["lower"], fill="tonexty", fillcolor="rgba(86,180,233,0.3)")
        title = f"{self.formula.value}: {self.replaced.value} → {self.by.value} (band: 90 % interval)"
        return figure.update_xaxes(range=[-0.02, 1.02]).update_layout(title=title, height=340)


def _in_words(formula: str, y: float, lower: float, upper: float) -> str:
    """Return a prediction with its 90 % interval as HTML, log10(S/cm)."""
    formula = escape(formula)
    if not np.isfinite(y):
        return f"<p>{formula} cannot be predicted: expected a formula with lithium.</p>"
    number = f"<b>log10(σ / S cm⁻¹) = {y:.2f} [{lower:.2f}, {upper:.2f}]</b>, σ ≈ {10**y:.1e} S/cm"
    note = f"{formula}: composition alone, whatever its structure; 90 % interval."
    return f"<p>{number}</p><p><small>{note}</small></p>"
