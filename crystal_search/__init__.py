"""Which crystal does a composition form? Evolutionary search with an interatomic potential.

In: the atoms of each element in a cell, an ASE calculator by name, settings and a database. Out: crystals,
and every energy evaluation counted. Names are imported when they are asked for: the potentials are large.
"""

from importlib import import_module

_HOMES = {
    "RelaxationSettings": "relaxation",
    "SearchCandidate": "database",
    "SearchDatabase": "database",
    "SearchError": "errors",
    "SearchSettings": "search_settings",
    "candidate_table": "database",
    "find_crystals": "evolution",
    "make_calculator": "potentials",
    "random_search": "search_settings",
    "relax": "relaxation",
    "survivors": "population",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Return a name of the public surface from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"crystal_search has no '{name}': expected one of {', '.join(__all__)}")
    return getattr(import_module(f"crystal_search.{_HOMES[name]}"), name)
