"""Everything that turns a good face into a bad one, as batched torch operations."""
