"""`sse predict`: streams of formulas and structures in, one row per input out."""
