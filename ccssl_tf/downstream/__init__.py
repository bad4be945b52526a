"""Evaluations of a trained backbone."""
