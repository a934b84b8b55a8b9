"""Concord measures how well video, audio and text agree."""

__version__ = "0.1.0"
