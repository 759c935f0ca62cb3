"""Classes from few labels: how good codes are, which images to label, spreading labels, and a classifier."""
