"""The rows that are clustered: their sources, reading in chunks, and preprocessing."""
