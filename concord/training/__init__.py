"""Training: the models this project trains itself."""

MINI_VERSION = 1
"""Raised whenever the code that trains concord-mini changes its weights."""
