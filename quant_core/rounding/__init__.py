"""How values are moved to the grid of their format."""

ROUNDINGS = ("nearest",)
"""Names of the roundings, in the order the window shows them."""
