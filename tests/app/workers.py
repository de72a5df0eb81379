"""Worker processes for tests; without Qt, so that they start fast."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

from analysis.messages import Opened, Progress, Started
from analysis.method import Row, Update
from tests.app.helpers import model_info


def streaming(pipe: Connection) -> None:
    """Open the model at once when asked to, then send rows without end."""
    if pipe.recv()[0] == "open":
        pipe.send(Opened(model_info(6), can_run=True, task="kl"))
        pipe.recv()
    pipe.send(Started("weights", {"unit": "dB"}))
    names = [layer.name for layer in model_info(6).layers]
    for number in range(10**9):
        rows = tuple(Row(name, "int4", float(number)) for name in names)
        pipe.send(Progress("weights", Update(number, 0, rows=rows)))
        time.sleep(0.002)
