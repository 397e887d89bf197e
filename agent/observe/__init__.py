"""What the operator sees: events, metrics, health, the status page."""
