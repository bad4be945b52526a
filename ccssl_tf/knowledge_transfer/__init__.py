"""(d) Knowledge transfer: a student learns what a teacher knows."""
