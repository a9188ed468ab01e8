"""Numbers in, numbers out: nothing here knows what a cascade is."""
