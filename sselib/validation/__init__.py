"""How models are judged: protocols, leakage, clusters, metrics with intervals."""
