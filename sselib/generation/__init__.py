"""Crystal structures for compositions that have none, by `crystal_search` (the extra `generation`)."""
