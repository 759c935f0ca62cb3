"""From bytes to batches, and back to pictures.

`images` and `batches` hold and serve them; `downloads`, `readers`, `named_sets` and `sources` find them;
`pictures` tiles them into PNG files. `opening` reads a picture file of any kind, `writing` gives it back.
"""
