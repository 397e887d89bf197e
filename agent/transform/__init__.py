"""Chunk → entries, pure."""
