"""How far a job is, and how long it will take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.widgets.format import duration

Status = Literal["opening", "running", "cancelling", "complete", "cancelled", "failed"]
ACTIVE: tuple[Status, ...] = ("opening", "running", "cancelling")

QUIET_SECONDS = 2.0
QUIET_SHARE = 0.02
SMOOTHING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class JobState:
    """What is known of the running or last job.

    Attributes:
        title: What is being done ("Analysis").
        status: Where it stands.
        note: The step at work ("layers.12.mlp.up_proj").
        done: Work units finished.
        total: Work units in all; 0 when not known.
        seconds_left: Estimated time left, None before it can be told.
        warnings: Sentences for the user.
    """

    title: str
    status: Status
    note: str = ""
    done: float = 0.0
    total: float = 0.0
    seconds_left: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_active(self) -> bool:
        """Whether the worker is busy with it."""
        return self.status in ACTIVE

    @property
    def share(self) -> float | None:
        """Finished share from 0 to 1; None when not known."""
        return min(1.0, self.done / self.total) if self.total > 0 else None

    @property
    def text(self) -> str:
        """One line: what, and how long still."""
        match self.status:
            case "opening":
                return f"Opening {self.title}…"
            case "cancelling":
                return f"{self.title}: stopping…"
            case "running":
                parts = [self.title]
                if self.note:
                    parts.append(self.note)
                if self.seconds_left is not None:
                    parts.append(f"about {duration(self.seconds_left)} left")
                return ", ".join(parts)
            case _:
                return f"{self.title}: {self.status}"


class Clock:
    """Estimates the time left from work units, smoothed over some seconds.

    Says nothing during the first two seconds and the first two per cent: an estimate
    from so little is noise, and a wrong one is remembered.
    """

    def __init__(self, now: float) -> None:
        """Start at `now` (seconds of a monotonic clock)."""
        self._rate: float | None = None
        self._restart(now)

    def _restart(self, now: float) -> None:
        self._start = self._last = now
        self._done = 0.0
        self._rate = None

    def seconds_left(self, done: float, total: float, now: float) -> float | None:
        """Return the estimate after `done` of `total` work units."""
        if done < self._done:
            # The next measure counts from zero again.
            self._restart(now)
        passed, gained = now - self._last, done - self._done
        if gained > 0 and passed > 0:
            rate = gained / passed
            weight = min(1.0, passed / SMOOTHING_SECONDS)
            if self._rate is None:
                self._rate = rate
            else:
                self._rate += weight * (rate - self._rate)
            self._last, self._done = now, done
        too_early = now - self._start < QUIET_SECONDS or done < QUIET_SHARE * total
        if too_early or not self._rate or total <= 0:
            return None
        waited = now - self._last
        return max(0.0, (total - done) / self._rate - waited)
