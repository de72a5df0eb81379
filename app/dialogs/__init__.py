"""Dialogs that ask for what a job needs."""
