"""Questions to a store, and what is kept to answer them."""
