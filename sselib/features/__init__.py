"""Numbers that describe a composition and its structure; `table` puts them together."""
