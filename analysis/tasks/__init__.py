"""What a model's error is measured in.

`TASKS` lists the keys a user may ask for; `analysis.tasks.choose` picks one by the
model. The classes import torch, so they are imported where they are used.
"""

from __future__ import annotations

TASKS = ("kl", "mse", "cosine")
