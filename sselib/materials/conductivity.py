"""Conductivities: reading values, bounds, units and column headers of the literature, and their classes."""

import math
import re
from dataclasses import dataclass

from sselib.errors import ConductivityError, nearest

LOG10_SIGMA_MIN, LOG10_SIGMA_MAX = -30.0, 1.0  # log10(S/cm); nothing measured lies outside
UNIT_EXPONENTS: dict[str, int] = {"S/cm": 0, "mS/cm": -3, "uS/cm": -6, "nS/cm": -9, "S/m": -2, "mS/m": -5}
UNITS: tuple[str, ...] = (*UNIT_EXPONENTS, "log10")  # log10: the value is log10(S/cm)
# Upper limit of log10(S/cm) of each class but the last; Kim et al.
CLASS_LIMITS: dict[str, float] = {"low": -6.0, "moderate": -4.0, "high": -3.0}
SUPERIONIC_LOG10_SIGMA = -4.0  # McHaffie et al.: sigma >= 1e-4 S/cm
_DECIMALS = 9  # to which log10(sigma) is compared with a limit, so that "0.001 mS/cm" is 1e-6 S/cm

_AMOUNT = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)"
_NUMBER = re.compile(rf"({_AMOUNT})(?:e([+-]?\d{{1,4}}))?", re.IGNORECASE)  # 1.2e-4, 1,2E-4
# 1.2x10^-4, 1.2x10-4, 1.2 10-4, 10^-4
_POWER = re.compile(rf"(?:({_AMOUNT})[x*])?10(?:(?:\^|\*\*)([+-]?\d{{1,4}})|(?<=[x*]10)([+-]\d{{1,4}}))")
_LOOKALIKES = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑", "-"),
        **dict.fromkeys("×·⋅•∙・‧∗", "x"),
        **dict.fromkeys("μµ", "u"),
        **dict.fromkeys("ΩΩ", "ohm"),
        **{
            "≤": "<",
            "≥": ">",
            "⩽": "<",
            "≲": "<",
            "≪": "<",
            "∼": "~",
            "≈": "~",
            "\u00a0": " ",
            "\u202f": " ",
        },
    }
)
_SUPERSCRIPTS = str.maketrans("⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹", "-+0123456789")
_PER_LENGTH = r"\s*(?:/|per|[x*. ]|)\s*(?P<length>cm|m)(?![A-Za-z])\s*(?:\^?\s*\(?-1\)?)?"
_SIEMENS = rf"(?P<prefix>[munkM]?)S{_PER_LENGTH}"
_INVERSE_OHM = r"(?:\(?\s*(?:1\s*/\s*)?ohm\s*\^?(?:-1)?[x* ]*(?P<per_ohm>cm|m)\s*\)?\s*\^?\(?(?:-1)?\)?)"
_CELL = re.compile(rf"(?P<number>.*[\d.,)])\s*(?:{_SIEMENS}|{_INVERSE_OHM})", re.DOTALL)
_IN_HEADER = re.compile(rf"(?<![A-Za-z])(?:{_SIEMENS}|{_INVERSE_OHM})")
_SNAKE = re.compile(r"(?:^|_)(?P<prefix>[mun]?)s_?(?:per_)?(?P<length>cm|m)(?:_?-?1)?(?:$|_)", re.IGNORECASE)
_FACTOR = re.compile(
    r"(?<![\d.])10\s*(?:\^([+-]?\d{1,2})|([+-]\d{1,2}))(?!\d)|(?<![\d.])1e([+-]\d{1,2})(?!\d)"
)
_OTHER_UNIT = re.compile(
    r"siemens|mho|ohm|(?<![A-Za-z])[A-Za-z]{0,5}S\s*(?:/|per\b|cm)|/\s*c?m\b|cm\s*\^?-1", re.IGNORECASE
)
_NO_CONDUCTIVITY = re.compile(  # a natural or negative logarithm, the product with the temperature
    r"(?<![A-Za-z])(?:ln|-\s*(?:log|lg))(?![a-z])|(?:σ|sigma)\s*[x*]?\s*T(?![A-Za-z])|S\s*x?\s*K\s*(?:/|cm|x)"
)
_LOG = re.compile(r"(?<![A-Za-z-])(?:log|lg)\s*_?(?:10)?(?![a-z])", re.IGNORECASE)
_UNIT_TEXT = re.compile(r"(?P<log>log10)?\s*\(?\s*(?:10\^(?P<factor>-?\d+)\s*)?(?P<unit>[munM]?S/c?m)?\s*\)?")


@dataclass(frozen=True)
class Conductivity:
    """An ionic conductivity as log10(S/cm); where ``censored`` the value is an upper bound."""

    log10_sigma: float
    censored: bool


def parse_conductivity(text: str | float, *, unit: str = "S/cm") -> Conductivity:
    """Read a conductivity such as ``1.2e-4``, ``1,2E-4``, ``1.9×10⁻³ S cm⁻¹``, ``<1E-10`` or ``<= 1e-8``.

    ``unit`` is one of `UNITS`, with a factor (``10^-4 S/cm``) or a logarithm (``log10(mS/cm)``) if need be;
    a unit in the text goes before it. A leading ``<`` or ``<=`` makes the value an upper bound. A comma is a
    decimal comma. Raises `ConductivityError`, which names the text and what is expected, for anything else:
    empty, not positive, a lower bound, unreadable, or outside 1e-30 to 10 S/cm (mostly a wrong unit).
    """
    exponent, is_log = _meaning(unit)
    plain = _plain(str(text))
    if match := _CELL.fullmatch(plain):
        plain = re.sub(r"^(\W*10)\s*([+-])", r"\1^\2", match["number"])  # 10-4 S cm-1
        exponent, is_log = _exponent_of(match), False
    written = re.sub(r"\s+", "", re.sub(r"(?<=\d)\s+(?=10\s*\^?[+-])", "x", plain)).removeprefix("~")
    written = re.sub(r"\(\d+\)|(?:±|\+/-)[\d.,]+(?:e[+-]?\d+)?", "", written)  # the uncertainty
    written = re.sub(r"^(<?=?)\(([^()]*)\)", r"\1\2", written)
    censored = written.startswith("<")
    value, power = _read_number(written.removeprefix("<").removeprefix("="), text=text)
    if is_log:
        log10_sigma = float(f"{value}e{power}") + exponent
    elif value > 0:
        log10_sigma = math.log10(value) + power + exponent
    else:
        raise ConductivityError(
            f"conductivity {text!r} is not positive: expected a value above 0 in {unit}; "
            "if the numbers are logarithms, give the unit 'log10'"
        )
    return Conductivity(_in_range(log10_sigma, text=text, unit=unit), censored)


def require_sigma_unit(unit: str) -> None:
    """Raise `ConductivityError` unless ``unit`` is one that `parse_conductivity` knows."""
    _meaning(unit)


def sigma_unit_of(header: str) -> str | None:
    """Return the unit that a header names, as `parse_conductivity` takes it, None without one.

    ``sigma (mS/cm)``, ``conductivity_mS_cm``, ``log10(sigma / mS cm-1)``, ``Conductivity (x10-4 S/cm)``.
    Raises `ConductivityError` for what cannot be read with certainty: natural or negative logarithms, the
    product with the temperature, a factor above 1.
    """
    plain = _plain(header)
    if _NO_CONDUCTIVITY.search(plain):
        raise ConductivityError(
            f"the column '{header}' holds no conductivity or log10 of one: convert it, or say its unit"
        )
    log = _LOG.search(plain)
    rest = _LOG.sub(" ", plain)
    factor = _FACTOR.search(rest)
    power = int(factor[1] or factor[2] or factor[3]) if factor else 0
    if power > 0:
        raise ConductivityError(
            f"the column '{header}' names the factor 10^{power}: say with --units what the numbers are in"
        )
    bare = _FACTOR.sub(" ", rest)
    match = _IN_HEADER.search(bare) or _SNAKE.search(header.strip())
    unit = _unit_name(match) if match else "S/cm"
    if not match and _OTHER_UNIT.search(bare):
        raise ConductivityError(f"the column '{header}' names a unit that is not known: say it with --units")
    if not match and not factor:
        return "log10" if log else None
    named = f"10^{power} {unit}" if factor else unit
    return (f"log10({named})" if named != "S/cm" else "log10") if log else named


def _plain(text: str) -> str:
    """Return a text with plain signs: superscripts as ``^-3``, one kind of minus, times, mu and ohm."""
    text = re.sub(r"</?su[pb]>|[{}$\\]", "", text.translate(_LOOKALIKES)).replace("times", "x").strip()
    text = re.sub(
        r"(?i)\b(m|u|n)?(?:illi|icro|ano)?[- ]?siemens\b", lambda m: f"{(m[1] or '').lower()}S", text
    )
    text = re.sub(r"(?i)\bper\s+c(?:enti)?m(?:et(?:er|re))?\b", "/cm", text)
    text = re.sub(r"[⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda m: "^" + m[0].translate(_SUPERSCRIPTS), text)
    text = re.sub(r"(?<=\d)\s*X\s*(?=10)", "x", text)
    return re.sub(r"\^\s*\(?\s*([+-]?)\s*(\d+)\s*\)?", r"^\1\2", text)


def _unit_name(match: re.Match[str]) -> str:
    groups = match.groupdict()
    prefix, length = groups.get("prefix") or "", groups.get("length") or groups.get("per_ohm")
    return f"{prefix.lower() if prefix != 'M' else 'M'}S/{length.lower()}"


def _exponent_of(match: re.Match[str]) -> int:
    return _meaning(_unit_name(match))[0]


def _meaning(unit: str) -> tuple[int, bool]:
    """Return the power of ten that turns ``unit`` into S/cm and whether the values are logarithms."""
    match = _UNIT_TEXT.fullmatch(_plain(unit).replace(" /", "/").replace("/ ", "/"))
    if match is None or not unit.strip() or (match["unit"] or "S/cm") not in UNIT_EXPONENTS:
        raise ConductivityError(
            f"unit {unit!r} is unknown: expected one of {', '.join(UNITS)}.{nearest(unit, list(UNITS))}"
        )
    return UNIT_EXPONENTS[match["unit"] or "S/cm"] + int(match["factor"] or 0), bool(match["log"])


def _read_number(written: str, *, text: str | float) -> tuple[float, int]:
    """Return (mantissa, power of ten); ``text`` is the original, for the error."""
    if match := _NUMBER.fullmatch(written):
        return float(match[1].replace(",", ".")), int(match[2] or 0)
    if match := _POWER.fullmatch(written):
        return float((match[1] or "1").replace(",", ".")), int(match[2] or match[3])
    kind = "is empty" if written in ("", "nan", "None") else "cannot be read"
    if written.startswith(">"):
        kind = "is a lower bound, which cannot be used as a label"
    raise ConductivityError(
        f"conductivity {text!r} {kind}: expected a number such as 1.2e-4 or 1.2x10^-4, "
        "or an upper bound such as <1e-10, with or without a unit such as mS/cm"
    )


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
