"""Records → Loki."""
