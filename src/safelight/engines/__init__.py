"""Where work runs: processes of this machine, Dask, Ray, and the ranks of one training."""
