"""`sse report`: the offline pages, the ranked table, the README's numbers."""
