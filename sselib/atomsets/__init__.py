"""Superionic or not: AtomSets, other classifiers, the saved ensemble."""
