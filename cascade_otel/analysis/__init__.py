"""Is it real, why did it happen, and does the cascade pay."""
