"""Crystal structures for compositions that have none: evolutionary search with an interatomic potential.

Import the modules, not this package: the potentials need the extra `generation`.
"""
