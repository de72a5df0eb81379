"""What to offer when a job failed, and how each offer changes the job."""

from __future__ import annotations

from dataclasses import replace

from analysis.messages import Analyze, Evaluate
from app.errors import Problem, Remedy

AGAIN = "again"
SMALLER_BATCH = "smaller_batch"
HALF_SAMPLES = "half_samples"
FIRST_BATCH = 8
"""Batch tried first in place of the one a measure chose for itself."""

ModelJob = Analyze | Evaluate


def remedies(job: ModelJob, problem: Problem) -> tuple[Remedy, ...]:
    """Return what can be tried after `job` failed with `problem`.

    Nothing for a mistake of the user, which would only fail again.
    """
    if problem.is_memory:
        offers = []
        if (batch := smaller_batch(job)) is not None:
            offers.append(Remedy(SMALLER_BATCH, f"Use &batches of {batch}"))
        if job.data is not None and job.data.samples > 1:
            half = job.data.samples // 2
            offers.append(Remedy(HALF_SAMPLES, f"Use &half the samples ({half})"))
        return tuple(offers)
    if problem.details:
        return (Remedy(AGAIN, "Go &on from here"),)
    return ()


def smaller_batch(job: ModelJob) -> int | None:
    """Return the next smaller batch size, None when there is none."""
    if job.data is None:
        return None
    size = job.batch_size // 2 if job.batch_size else FIRST_BATCH
    return min(size, job.data.samples) or None


def remedied(job: ModelJob, remedy: str) -> ModelJob:
    """Return the job as a remedy changes it."""
    if remedy == SMALLER_BATCH and (batch := smaller_batch(job)) is not None:
        return replace(job, batch_size=batch)
    if remedy == HALF_SAMPLES and job.data is not None:
        data = replace(job.data, samples=max(1, job.data.samples // 2))
        return replace(job, data=data)
    return job
