"""Bounds on the risk of accepting wrong answers."""
