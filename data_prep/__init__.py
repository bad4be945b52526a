"""Converters from the public layouts of image data sets to this project's sharded records."""
