"""Clips: what is in the collections, which prompt belongs to which clip, which shard holds it."""

from concord.clips.plan import plan, problems, shards, text_shards

__all__ = ["plan", "problems", "shards", "text_shards"]
