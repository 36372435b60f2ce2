"""What runs do with a project: follow the sources, build a candidate, release it, go back, clear away."""
