"""Versions of what the rules for features write: raise one when the same inputs give other outputs.

They are parameters of the rules, so that changed code runs again.
"""

QUALITY_VERSION = 2
PROBES_VERSION = 3
