"""Numbers that tell how good a result is."""
