"""`python -m concord`."""

from concord.cli import main

main()
