"""Reading codes and writing new ones.

Codes are read in `codes` (in memory), `parquet` (any number of them, in a file), `maps`, `measures` (how far
to trust a map, how good samples are), `charts` and `figures` (what a report shows). New images come from
`sampling` (mixtures, the nearest training images), `judging`, `sheets` and `walks`; `export` writes encoder
and decoder as ONNX files.
"""
