"""What clustering will cost on this machine, said before it begins."""
