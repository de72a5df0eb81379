"""Searches, in the order the window and the command line list them."""

from __future__ import annotations

from analysis.search.exact import Exact
from analysis.search.front import ConvexFront

SEARCHES = (Exact, ConvexFront)
