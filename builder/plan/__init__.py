"""Pure planning: which units there are, what is done with each and why, which drivers a stream carries."""
