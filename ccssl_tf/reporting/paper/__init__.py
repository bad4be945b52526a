"""The paper's tables and claims beside what our runs measured."""
