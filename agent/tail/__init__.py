"""Files → chunks of whole lines."""
