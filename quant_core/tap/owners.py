"""Which layer a tensor belongs to, told by the memory it lies in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quant_core.sites import Layer


@dataclass(frozen=True, slots=True)
class Owner:
    """A layer and its parameter.

    Attributes:
        layer: The layer.
        parameter: Its weights.
        start: Where they begin in their storage [values].
        stop: Where they end.
    """

    layer: Layer
    parameter: Tensor
    start: int
    stop: int


class Owners:
    """Finds the layer whose parameter a tensor is, or is a view of.

    Valid while no parameter gets other values or memory.

    Args:
        layers: Layers of a network.
        parameters: Its parameters by name.
    """

    def __init__(
        self, layers: Iterable[Layer], parameters: Mapping[str, Tensor]
    ) -> None:
        self._by_storage: dict[int, list[Owner]] = defaultdict(list)
        for layer in layers:
            parameter = parameters[layer.parameter]
            start = int(parameter.storage_offset())
            self._by_storage[parameter.untyped_storage().data_ptr()].append(
                Owner(layer, parameter, start, start + parameter.numel())
            )

    def of(self, tensor: object) -> Owner | None:
        """Return the owner of a tensor, None when it is no layer's."""
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            return None
        storage = tensor.untyped_storage()
        if storage.device.type == "meta":
            # Exported programs check their inputs with tensors that have no values.
            return None
        owners = self._by_storage.get(storage.data_ptr())
        if not owners:
            return None
        offset = tensor.storage_offset()
        return next((o for o in owners if o.start <= offset < o.stop), None)

    def exchanged(self, values: Any, stand_ins: Mapping[int, Tensor]) -> Any:
        """Return call arguments with stand-ins in place of parameters.

        Args:
            values: Tensors, also in lists, tuples and dictionaries.
            stand_ins: Tensors of a parameter's layout by the `id` of the parameter.
        """
        if isinstance(values, Tensor):
            owner = self.of(values)
            if owner is None or id(owner.parameter) not in stand_ins:
                return values
            stand_in = stand_ins[id(owner.parameter)]
            if stand_in is owner.parameter:
                return values
            offset = values.storage_offset() - owner.parameter.storage_offset()
            return stand_in.as_strided(values.size(), values.stride(), offset)
        if isinstance(values, (list, tuple)):
            return type(values)([self.exchanged(v, stand_ins) for v in values])
        if isinstance(values, dict):
            return {k: self.exchanged(v, stand_ins) for k, v in values.items()}
        return values
