"""Bundled examples: trained weights, held-out data, and the script that made them."""
