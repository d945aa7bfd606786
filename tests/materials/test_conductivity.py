"""Reading conductivities and their classes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sselib.errors import ConductivityError
from sselib.materials.conductivity import (
    CLASS_LIMITS,
    UNIT_EXPONENTS,
    conductivity_class,
    is_superionic,
    parse_conductivity,
)

MANTISSAS = st.floats(1.0, 9.999).map(lambda x: round(x, 3))
EXPONENTS = st.integers(-25, -1)
LOG10_SIGMAS = st.floats(-25.0, 1.0)


@pytest.mark.parametrize(
    "text, expected, censored",
    [
        ("1.2e-4", math.log10(1.2e-4), False),
        ("1,2E-4", math.log10(1.2e-4), False),
        ("1.2 x 10-4", math.log10(1.2e-4), False),
        ("1.2×10^-4", math.log10(1.2e-4), False),
        ("1.2 · 10⁻⁴", math.log10(1.2e-4), False),
        ("1.2*10**-4", math.log10(1.2e-4), False),
        ("10^-4", -4.0, False),
        ("10⁻⁴", -4.0, False),
        ("0.00012", math.log10(1.2e-4), False),
        (".5", math.log10(0.5), False),
        ("1.2e−4", math.log10(1.2e-4), False),
        (3.4e-5, math.log10(3.4e-5), False),
        ("<1E-10", -10.0, True),
        ("<= 1e-8", -8.0, True),
        ("≤1e-8", -8.0, True),
        (" < 1 x 10-8 ", -8.0, True),
    ],
)
def test_ways_of_writing(text: str | float, expected: float, censored: bool) -> None:
    read = parse_conductivity(text)
    assert read.log10_sigma == pytest.approx(expected, abs=1e-12) and read.censored is censored


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nan",
        float("nan"),
        None,
        "-",
        "abc",
        "0",
        "0.0",
        "-1e-4",
        ">1e-4",
        "≥ 1e-4",
        "1e",
        "1.2.3",
        "1,200.5",
        "1.2 x 104",
        "10-4",
        "<",
        "<<1e-4",
        "1e-4 2e-4",
        "1e-4 S/cm/cm",
        "inf",
        "1e400",
        "1e-400",
        "1e99999",
    ],
)
def test_what_cannot_be_read_is_named(text: object) -> None:
    with pytest.raises(ConductivityError) as caught:
        parse_conductivity(text)  # type: ignore[arg-type]
    assert repr(text) in str(caught.value) and "expected" in str(caught.value)


@pytest.mark.parametrize(
    "text, unit, expected",
    [
        ("1", "mS/cm", -3),
        ("1", "uS/cm", -6),
        ("1", "µS/cm", -6),
        ("1", "μS/cm", -6),
        ("1", "S/m", -2),
        ("12", "mS/cm", math.log10(0.012)),
        ("-4.5", "log10", -4.5),
        ("<-10", "log10", -10),
        ("-4,5", "log10", -4.5),
        ("-0.45e1", "log10", -4.5),
    ],
)
def test_units(text: str, unit: str, expected: float) -> None:
    assert parse_conductivity(text, unit=unit).log10_sigma == pytest.approx(expected, abs=1e-12)


def test_wrong_unit_is_named_with_the_nearest() -> None:
    with pytest.raises(ConductivityError, match=r"'mS/mm' is unknown.*mS/m, log10\. Did you mean"):
        parse_conductivity("1", unit="mS/mm")


def test_values_in_the_wrong_unit_are_refused() -> None:
    with pytest.raises(ConductivityError, match="give the unit 'log10'"):
        parse_conductivity("-4.2", unit="S/cm")
    with pytest.raises(ConductivityError, match=r"Is the unit right\?"):
        parse_conductivity("320", unit="S/cm")  # 320 uS/cm
    with pytest.raises(ConductivityError, match=r"Is the unit right\?"):
        parse_conductivity("1e400", unit="log10")


@given(
    MANTISSAS,
    EXPONENTS,
    st.sampled_from(["{}e{}", "{}E{}", "{}x10{}", "{} x 10^{}", "{} × 10{}"]),
    st.booleans(),
    st.booleans(),
)
def test_every_notation_gives_the_same_number(
    mantissa: float, exponent: int, form: str, comma: bool, bound: bool
) -> None:
    written = str(mantissa).replace(".", ",") if comma else str(mantissa)
    read = parse_conductivity(("<" if bound else "") + form.format(written, exponent))
    assert read.log10_sigma == pytest.approx(math.log10(mantissa) + exponent, abs=1e-9)
    assert read.censored is bound


@given(st.floats(-20, -1), st.sampled_from(sorted(UNIT_EXPONENTS)))
def test_units_are_only_a_shift(log10_sigma: float, unit: str) -> None:
    written = repr(10.0 ** (log10_sigma - UNIT_EXPONENTS[unit]))
    assert parse_conductivity(written, unit=unit).log10_sigma == pytest.approx(log10_sigma, abs=1e-9)


@given(st.text(max_size=12))
def test_any_text_gives_a_value_or_the_one_error(text: str) -> None:
    try:
        read = parse_conductivity(text)
    except ConductivityError:
        return
    assert -30 <= read.log10_sigma <= 1


@pytest.mark.parametrize(
    "sigma, expected",
    [
        (9.99e-7, "low"),
        (1e-6, "moderate"),
        (9.99e-5, "moderate"),
        (1e-4, "high"),
        (9.99e-4, "high"),
        (1e-3, "superionic"),
        (1.2e-2, "superionic"),
        (1e-18, "low"),
    ],
)
def test_classes_of_kim(sigma: float, expected: str) -> None:
    assert conductivity_class(math.log10(sigma), censored=False) == expected


def test_limits_hold_whatever_the_unit() -> None:
    for text, unit in (("1e-6", "S/cm"), ("0.001", "mS/cm"), ("1", "uS/cm"), ("1e-4", "S/m")):
        value = parse_conductivity(text, unit=unit).log10_sigma
        assert conductivity_class(value, censored=False) == "moderate"
    for text, unit in (("1e-4", "S/cm"), ("0.1", "mS/cm"), ("100", "uS/cm"), ("0.01", "S/m")):
        assert is_superionic(parse_conductivity(text, unit=unit).log10_sigma, censored=False) is True


@given(LOG10_SIGMAS, st.floats(0, 20))
def test_a_decided_bound_agrees_with_every_value_below_it(bound: float, below: float) -> None:
    named, superionic = conductivity_class(bound, censored=True), is_superionic(bound, censored=True)
    value = bound - below - 1e-6
    if named != "undecided":
        assert conductivity_class(value, censored=False) == named
    if superionic is not None:
        assert is_superionic(value, censored=False) is superionic


@pytest.mark.parametrize(
    "bound, named, superionic",
    [
        (-10, "low", False),
        (-6, "low", False),
        (-5.9, "undecided", False),
        (-4, "undecided", False),
        (-3.9, "undecided", None),
    ],
)
def test_bounds(bound: float, named: str, superionic: bool | None) -> None:
    assert conductivity_class(bound, censored=True) == named
    assert is_superionic(bound, censored=True) is superionic


@given(LOG10_SIGMAS, LOG10_SIGMAS)
def test_classes_are_ordered(first: float, second: float) -> None:
    order = [*CLASS_LIMITS, "superionic"]
    low, high = sorted((first, second))
    assert order.index(conductivity_class(low, censored=False)) <= order.index(
        conductivity_class(high, censored=False)
    )
