"""Image records, manifests and the input pipelines that read them."""
