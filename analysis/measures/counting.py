"""Statistics of a tensor on several cores."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from quant_core.stats import TensorStats

_SMALLEST_SHARE = 1 << 17  # values worth another thread


class Counter:
    """Counts tensors with as many threads as torch uses; a context manager.

    A tensor is cut into shares, one thread counts each, and the results are merged.
    Threads of torch's own would have to meet after every small step, which costs much
    of the gain on an idle machine and hundredfold on a busy one.

    Args:
        fresh: Makes the empty statistics to fill.
    """

    def __init__(self, fresh: Callable[[], TensorStats]) -> None:
        self._fresh = fresh
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, "statistics")

    def __enter__(self) -> Counter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()

    def count(self, x: Tensor, channel_axis: int) -> TensorStats:
        """Return the statistics of every value of `x`.

        Args:
            x: Any tensor, on any device.
            channel_axis: Axis that holds the channels.

        Raises:
            QuantError: `x` holds NaN or an infinity.
        """
        axes = [a for a in range(x.ndim) if a != channel_axis % x.ndim]
        shares = min(self._threads, x.numel() // _SMALLEST_SHARE)
        cut = next((a for a in axes if x.shape[a] >= shares), None)
        if x.device.type != "cpu":
            return self._one(x, channel_axis)
        with _one_thread_each():
            if shares < 2 or cut is None:
                return self._one(x, channel_axis)
            parts = torch.tensor_split(x, shares, cut)
            jobs = [self._pool.submit(self._one, p, channel_axis) for p in parts]
            total = jobs[0].result()
            for job in jobs[1:]:
                total.merge(job.result())
        return total

    def _one(self, x: Tensor, channel_axis: int) -> TensorStats:
        stats = self._fresh()
        stats.update(x, channel_axis)
        return stats


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep torch from starting threads inside ours."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
