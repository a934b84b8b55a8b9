"""Versions of what the report's rules write: raise one when the same inputs give other outputs.

They are parameters of the rules, so that changed code runs again.
"""

TABLES_VERSION = 4
EXPORTS_VERSION = 4
PROJECTIONS_VERSION = 1
REPORT_VERSION = 2
