"""ASE calculators by name, so that another interatomic potential plugs in without a change elsewhere."""

import importlib
from collections.abc import Mapping

from ase.calculators.calculator import Calculator

from crystal_search.errors import SearchError, did_you_mean

POTENTIALS: dict[str, str] = {"chgnet": "crystal_search.chgnet_batch:CHGNetFast"}  # imported when made


def make_calculator(name: str, options: Mapping[str, object] | None = None) -> Calculator:
    """Return an ASE calculator for crystals.

    ``name`` is a key of `POTENTIALS` or ``module:callable`` for any other one that gives energy,
    forces and stress, such as ``mace.calculators:mace_mp`` or ``ase.calculators.lj:LennardJones``;
    ``options`` are its keyword arguments. Raises `SearchError` for a name that cannot be found.
    """
    module, colon, attribute = POTENTIALS.get(name, name).partition(":")
    if not colon:
        raise SearchError(
            f"there is no potential '{name}': expected {', '.join(POTENTIALS)} or 'module:callable' of an "
            f"ASE calculator, such as mace.calculators:mace_mp.{did_you_mean(name, list(POTENTIALS))}"
        )
    try:
        return getattr(importlib.import_module(module), attribute)(**(options or {}))
    except (ImportError, AttributeError, TypeError) as error:
        raise SearchError(
            f"the potential '{name}' cannot be made ({error}): expected 'module:callable' that can be "
            "imported here and takes the options given"
        ) from error
