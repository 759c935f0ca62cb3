"""The networks, each abstract or final and made from the shape of its images and its settings.

`conv_vae` and `deep_conv` hold a family each, `table` the one list of them; `sampling` decodes new codes.
"""
