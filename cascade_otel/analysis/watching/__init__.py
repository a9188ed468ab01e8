"""Is it real? What is counted, what the detector remembers, and what it finds."""
