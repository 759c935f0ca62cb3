"""Settings, as frozen dataclasses and without torch.

`reading` is their strict way to and from JSON; `network`, `training`, `data`,
`search` and `run` hold a group each.
"""
