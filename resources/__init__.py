"""Data of the program, read through `importlib.resources`."""
