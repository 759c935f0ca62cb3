"""Evolving settings and structures: genes, the algorithms over them, the search that trains them."""
