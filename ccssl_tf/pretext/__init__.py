"""(a) Pretext tasks: labels that images carry in themselves."""
