"""Ways to services of others: one file each, loaded when it is configured."""
