"""Image records, manifests and the input pipelines that read them."""

# Images with a shorter side (pixels) are small: crops, puzzles and networks take their small forms.
SMALL_IMAGE_SIZE = 128
