"""Models: catalogue, families, and the embedding of shards."""
