"""GreenStack log agent: tail, transform, batch, buffer, push."""

__version__ = "0.1.0"
