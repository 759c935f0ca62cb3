"""The original report's experiment, a few lines over safelight: `python -m deep_learning_hw2`."""
