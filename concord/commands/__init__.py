"""The commands of `python -m concord`, a module each; concord.cli declares them."""
