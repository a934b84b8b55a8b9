"""Clips: what is in the collections, which prompt belongs to which clip, which shard holds it."""

from concord.clips.plan import companions, plan, problems, shards, text_shards

__all__ = ["companions", "plan", "problems", "shards", "text_shards"]
