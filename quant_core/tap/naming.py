"""Names for the places of a network, the same in every run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from quant_core.sites import Site, SiteRole
from quant_core.tap.owners import Owner


class Naming:
    """Names calls by the module that makes them, and keeps the sites it has named.

    Args:
        paths: Of a network's modules, by their `id`.
    """

    def __init__(self, paths: Mapping[int, str]) -> None:
        self._paths = paths
        self._path = [""]
        self._counts: dict[str, dict[str, int]] = {}  # calls by path and op
        self._sites: dict[tuple[str, SiteRole], Site] = {}

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Know which module of the network is running, inside the block."""

        def enter(module: nn.Module, _args: Any) -> None:
            path = self._paths.get(id(module))
            if path is not None:
                self._path.append(path)
                # A module called twice has the same sites both times.
                self._counts.pop(path, None)

        def leave(module: nn.Module, _args: Any, _output: Any) -> None:
            if id(module) in self._paths and len(self._path) > 1:
                self._path.pop()

        # One pair for all modules: to attach a pair to each takes as long as a small
        # network takes to run a sample.
        entering = register_module_forward_pre_hook(enter)
        leaving = register_module_forward_hook(leave, always_call=True)
        try:
            yield
        finally:
            entering.remove()
            leaving.remove()

    def _count(self, op: str) -> int:
        counts = self._counts.setdefault(self._path[-1], {})
        number = counts.get(op, 0)
        counts[op] = number + 1
        return number

    def next_call(self, op: str) -> str:
        """Return the name of the next call of an op: "attention:matmul.0"."""
        return f"{self._path[-1]}:{op}.{self._count(op)}"

    def next_output(self, op: str) -> str:
        """Return the same for an op whose output is a site: "block:relu", "relu.1"."""
        count = self._count(op)
        suffix = f".{count}" if count else ""
        return f"{self._path[-1]}:{op}{suffix}"

    def site(
        self, name: str, op: str, role: SiteRole, x: Tensor, layer: str | None = None
    ) -> Site:
        """Return the site of a name and role, with the shape that it was first seen in.

        Args:
            name: Of the site.
            op: Name of the operation.
            role: What the activation is to it.
            x: The activation.
            layer: The layer that it goes into.
        """
        site = self._sites.get((name, role))
        if site is None:
            site = Site(name, op, role, layer, tuple(x.shape))
            self._sites[name, role] = site
        return site

    def layer_site(self, owner: Owner, op: str, x: Tensor) -> Site:
        """Return the input site of a layer.

        It has the layer's name, unless another module borrows the parameter (a
        tied head): then the borrower's path.
        """
        path, module = self._path[-1], owner.layer.parameter.rpartition(".")[0]
        own = path == module or path == "" or module.startswith(path + ".")
        name = owner.layer.name if own else path
        return self.site(name, op, "input", x, owner.layer.name)
