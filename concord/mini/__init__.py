"""concord-mini: a procedural world of shapes and sounds, and a small model that knows it."""

DEMO_VERSION = 1
"""Raised whenever the code that makes the demo changes its clips or prompts."""
