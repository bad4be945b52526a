"""K-means in NumPy and threads, on processors: exact, and with most distances skipped."""
