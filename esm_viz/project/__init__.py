"""A project: one recipe with its files opened, and every question that can be asked of it."""
