"""Entries → sealed push bodies, pure."""
