"""Where a fit starts: which rows are the first centroids."""
