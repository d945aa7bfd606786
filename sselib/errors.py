"""Errors that a user can act on: each names what was found, what was expected and what to do."""


class SSEError(Exception):
    """Base of every error that the suite raises on purpose; the command line prints only its text."""


class DataError(SSEError):
    """A data file is missing, has the wrong content or cannot be read."""


class FormulaError(SSEError, ValueError):
    """A chemical formula cannot be read."""


class ConductivityError(SSEError, ValueError):
    """A conductivity value or its unit cannot be read."""


class SchemaError(SSEError):
    """A table lacks a column, or a column holds values outside its range."""


class RunError(SSEError):
    """A run folder lacks an input, or a notebook failed."""


class ParameterError(SSEError, ValueError):
    """A parameter is unknown, has the wrong type or an impossible value."""


def nearest(name: str, valid: list[str]) -> str:
    """Return ' Did you mean X?' for the valid name closest to ``name``, or an empty string."""
    from difflib import get_close_matches

    match = get_close_matches(name, valid, n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""
