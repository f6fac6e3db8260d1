"""Input: sources of examples, and the grain pipeline over them."""
