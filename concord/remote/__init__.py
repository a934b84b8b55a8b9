"""Clips and results on object storage, through Snakemake's storage plugins.

Nothing here loads a plugin before an address such as s3://bucket/prefix is used.
"""
