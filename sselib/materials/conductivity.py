"""Conductivities: reading values and bounds in the units of the literature, and their classes."""

import math
import re
from dataclasses import dataclass

from sselib.errors import ConductivityError, nearest

LOG10_SIGMA_MIN, LOG10_SIGMA_MAX = -30.0, 1.0  # log10(S/cm); nothing measured lies outside
UNIT_EXPONENTS: dict[str, int] = {"S/cm": 0, "mS/cm": -3, "uS/cm": -6, "S/m": -2}  # 1 unit = 10^x S/cm
UNITS: tuple[str, ...] = (*UNIT_EXPONENTS, "log10")  # log10: the value is log10(S/cm)
# Upper limit of log10(S/cm) of each class but the last; Kim et al.
CLASS_LIMITS: dict[str, float] = {"low": -6.0, "moderate": -4.0, "high": -3.0}
SUPERIONIC_LOG10_SIGMA = -4.0  # McHaffie et al.: sigma >= 1e-4 S/cm
_DECIMALS = 9  # to which log10(sigma) is compared with a limit, so that "0.001 mS/cm" is 1e-6 S/cm

_AMOUNT = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)"
_NUMBER = re.compile(rf"({_AMOUNT})(?:e([+-]?\d{{1,4}}))?", re.IGNORECASE)  # 1.2e-4, 1,2E-4
# 1.2x10^-4, 1.2x10-4, 10^-4
_POWER = re.compile(rf"(?:({_AMOUNT})[x*])?10(?:(?:\^|\*\*)([+-]?\d{{1,4}})|(?<=[x*]10)([+-]\d{{1,4}}))")
_LOOKALIKES = str.maketrans(
    {"−": "-", "–": "-", "×": "x", "·": "x", "X": "x", "≤": "<", "≥": ">", "μ": "u", "µ": "u"}
)
_SUPERSCRIPTS = str.maketrans("⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹", "-+0123456789")


@dataclass(frozen=True)
class Conductivity:
    """An ionic conductivity as log10(S/cm); where ``censored`` the value is an upper bound."""

    log10_sigma: float
    censored: bool


def parse_conductivity(text: str | float, *, unit: str = "S/cm") -> Conductivity:
    """Read a conductivity such as ``1.2e-4``, ``1,2E-4``, ``1.2 x 10-4``, ``<1E-10`` or ``<= 1e-8``.

    ``unit`` is one of `UNITS`; "log10" means that the number is log10(S/cm) already. A leading ``<``
    or ``<=`` makes the value an upper bound. A comma is a decimal comma. Raises `ConductivityError`,
    which names the text and what is expected, for anything else: empty, not positive, a lower
    bound, unreadable, or outside 1e-30 to 10 S/cm (mostly a wrong unit).
    """
    exponent = _unit_exponent(unit)
    written = re.sub(r"\s+", "", str(text).translate(_LOOKALIKES))
    censored = written.startswith("<")
    value, power = _read_number(written.removeprefix("<").removeprefix("="), text=text)
    if exponent is None:
        log10_sigma = float(f"{value}e{power}")
    elif value > 0:
        log10_sigma = math.log10(value) + power + exponent
    else:
        raise ConductivityError(
            f"conductivity {text!r} is not positive: expected a value above 0 in {unit}; "
            "if the numbers are logarithms, give the unit 'log10'"
        )
    return Conductivity(_in_range(log10_sigma, text=text, unit=unit), censored)


def _unit_exponent(unit: str) -> int | None:
    """Return the power of ten that turns ``unit`` into S/cm, None for log10."""
    plain = re.sub(r"\s+", "", unit.translate(_LOOKALIKES))
    if plain not in UNITS:
        raise ConductivityError(
            f"unit {unit!r} is unknown: expected one of {', '.join(UNITS)}.{nearest(plain, list(UNITS))}"
        )
    return UNIT_EXPONENTS.get(plain)


def _read_number(written: str, *, text: str | float) -> tuple[float, int]:
    """Return (mantissa, power of ten); ``text`` is the original, for the error."""
    if match := _NUMBER.fullmatch(written):
        return float(match[1].replace(",", ".")), int(match[2] or 0)
    if match := _POWER.fullmatch(_plain_exponent(written)):
        return float((match[1] or "1").replace(",", ".")), int(match[2] or match[3])
    kind = "is empty" if written in ("", "nan", "None") else "cannot be read"
    if written.startswith(">"):
        kind = "is a lower bound, which cannot be used as a label"
    raise ConductivityError(
        f"conductivity {text!r} {kind}: expected a number such as 1.2e-4 or 1.2x10^-4, "
        "or an upper bound such as <1e-10, without its unit"
    )


def _plain_exponent(written: str) -> str:
    """Turn superscript digits into ``^`` and plain digits."""
    return re.sub(r"[⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda m: "^" + m[0].translate(_SUPERSCRIPTS), written)


def _in_range(log10_sigma: float, *, text: str | float, unit: str) -> float:
    """Return the value if a solid can have it, else raise `ConductivityError`."""
    if not LOG10_SIGMA_MIN <= log10_sigma <= LOG10_SIGMA_MAX:
        raise ConductivityError(
            f"conductivity {text!r} in {unit} is 10^{log10_sigma:.3g} S/cm: expected "
            f"10^{LOG10_SIGMA_MIN:.0f} to 10^{LOG10_SIGMA_MAX:.0f} S/cm. "
            f"Is the unit right? Known are {', '.join(UNITS)}"
        )
    return log10_sigma


def conductivity_class(log10_sigma: float, *, censored: bool) -> str:
    """Return low (< 1e-6 S/cm), moderate (< 1e-4), high (< 1e-3) or superionic, after Kim et al.

    An upper bound of at most 1e-6 S/cm is low, whatever the true value; a higher bound leaves the
    class open and gives "undecided".
    """
    value = round(log10_sigma, _DECIMALS)
    if censored:
        return "low" if value <= CLASS_LIMITS["low"] else "undecided"
    return next((name for name, limit in CLASS_LIMITS.items() if value < limit), "superionic")


def is_superionic(log10_sigma: float, *, censored: bool) -> bool | None:
    """Say whether sigma >= 1e-4 S/cm (McHaffie et al.); None where an upper bound leaves it open."""
    value = round(log10_sigma, _DECIMALS)
    if censored:
        return False if value <= SUPERIONIC_LOG10_SIGMA else None
    return value >= SUPERIONIC_LOG10_SIGMA
