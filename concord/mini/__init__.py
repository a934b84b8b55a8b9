"""concord-mini: a procedural world of shapes and sounds, and a small model that knows it."""
