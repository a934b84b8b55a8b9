"""Clips: what is in the collections, which prompt belongs to which clip, which shard holds it."""
