"""The page of a run, to walk through its latent space and label its images in a browser.

`contents` packs what it holds, `bundling` makes it one HTML file of the sources in `page/`,
`serving` serves it.
"""
