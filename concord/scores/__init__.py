"""Scores: similarity, retrieval and synchrony of clips, and the statistics of their tables."""
