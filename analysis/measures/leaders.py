"""Which channels and positions stand out, site by site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.measures.places import Places, token_texts
from quant_core.outstanding import Outstanding, TopPositions

Arrays = dict[str, np.ndarray]


class Leaders:
    """Energy of the channels and leading positions of every site.

    Args:
        count: Positions listed.
        kept: Arrays of the run being resumed, names without the measure.
    """

    def __init__(self, count: int, kept: Mapping[str, np.ndarray]) -> None:
        self._count = count
        self._kept = kept
        self._seen: dict[str, Outstanding] = {}
        self._shapes: dict[str, tuple[int, ...] | None] = {}

    def floor(self, name: str) -> float:
        """Return the magnitude a position of a site must exceed to be listed."""
        return self._of(name).positions.floor

    def add(self, name: str, found: Outstanding, places: Places | None) -> None:
        """Take in what stood out in one tensor that came to a site."""
        own = self._of(name)
        shape = None if places is None else places.shape
        if self._shapes.setdefault(name, shape) != shape:
            # Numbers of differently shaped samples would mean different places.
            self._shapes[name] = None
        own.merge(found)
        if self._shapes[name] is None:
            own.positions = TopPositions(self._count)

    def forget(self, name: str) -> None:
        """Drop a site."""
        self._seen.pop(name, None)

    def arrays(self, name: str, tokenizer: Any, ids: Tensor | None) -> Arrays:
        """Return the arrays of a site, none where nothing was asked.

        Args:
            name: The site.
            tokenizer: `tokenizers.Tokenizer` of the model, or None.
            ids: Token numbers of all samples, `[samples, T]`, or None.
        """
        if name not in self._seen:
            return {}
        own, shape = self._seen[name], self._shapes[name]
        arrays: Arrays = own.state()
        if shape is not None:
            arrays["position_shape"] = np.array(shape, np.int64)
            texts = token_texts(tokenizer, ids, own.positions.numbers, shape)
            if texts is not None:
                arrays["position_tokens"] = texts
        return arrays

    def _of(self, name: str) -> Outstanding:
        """Return the accumulator of a site, with what a resumed run had."""
        if name not in self._seen:
            prefix = f"{name}/"
            if prefix + "channel_squares" in self._kept:
                names = Outstanding().state()
                state = {key: self._kept[prefix + key] for key in names}
                self._seen[name] = Outstanding.from_state(state, self._count)
                shape = self._kept.get(prefix + "position_shape")
                self._shapes[name] = None if shape is None else tuple(shape.tolist())
            else:
                self._seen[name] = Outstanding(self._count)
        return self._seen[name]


def number_positions(found: Outstanding, places: Places | None) -> None:
    """Number the positions of one tensor through all samples, or drop them."""
    if places is None:
        found.positions = TopPositions(found.positions.count)
    else:
        found.positions.numbers = places.number(found.positions.numbers)


def token_ids(kwargs: Mapping[str, Tensor], site: str) -> Tensor | None:
    """Return the token numbers that a site's positions are about, None without any."""
    is_decoder = "decoder" in site.split(".") and "decoder_input_ids" in kwargs
    ids = kwargs.get("decoder_input_ids" if is_decoder else "input_ids")
    return None if ids is None or ids.dtype not in _WHOLE else ids


_WHOLE = (torch.int32, torch.int64)
