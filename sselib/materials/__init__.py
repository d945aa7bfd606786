"""Compositions and crystals: formulas, families, disorder, oxidation states, conductivities."""
