"""A generation scheme from outside Bezoar."""
