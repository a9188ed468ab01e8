"""Frameworks whose cascades are recorded without a change to the code that uses them."""
