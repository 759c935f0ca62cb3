"""What is like what, and what is like nothing else: nearest neighbours, copies and outliers."""
