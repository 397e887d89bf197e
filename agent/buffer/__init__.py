"""The durable queue, and the only memory of how far each file was read."""
