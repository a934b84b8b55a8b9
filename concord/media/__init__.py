"""From an original clip to its proxy, its wave and its measurements."""
