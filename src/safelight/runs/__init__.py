"""Training, and the folder that it fills.

`training` is the one loop, `folder` the files of a run, `recorder` what is written into it after every epoch.
"""
