"""A genetic algorithm over settings and structures, and other ways to search, all by ask and tell."""
