"""Runs a network again without the part that cannot have changed.

A change of one layer leaves everything before its first use as it was, bit for bit.
So one pass is recorded: which module calls ended when, and what they returned; a later
pass hands those outputs out again for every call that ended before the change begins.

What makes it exact: a call is handed out only if the module was called once, took and
returned nothing but tensors and plain values, changed no tensor that it was given, and
nobody changed what it returned. A module that fails this is run again, with the modules
inside it that pass. Nothing is handed out of a pass that changed an attribute or buffer
of any module, or that drew random numbers. `Recording.intact` tells afterwards whether
a replay wrote into what was handed out.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from quant_core.ops import tensors_in
from quant_core.sites import Site
from quant_core.tap import Listener, Tap

KEEP_BYTES = 1 << 30
"""Outputs kept of one pass; beyond it those of the innermost modules are let go."""
_PLAIN = (bool, int, float, complex, str, bytes, slice, torch.dtype, torch.device)
_HOOKS = ("forward", "_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True, slots=True)
class _Kept:
    """The one call of a module.

    Attributes:
        path: Of the module.
        output: What it returned.
        end: When it returned, in ticks of the clock.
        tensors: The tensors of `output`, each with the number of writes to it.
    """

    path: str
    output: Any
    end: int
    tensors: tuple[tuple[Tensor, int], ...]

    @property
    def intact(self) -> bool:
        """Whether nobody has written to the output since."""
        return all(tensor._version == writes for tensor, writes in self.tensors)

    @property
    def size(self) -> int:
        """Bytes of the output."""
        return sum(t.numel() * t.element_size() for t, _ in self.tensors)


class Recording:
    """One pass: what its module calls returned, and when each change would begin.

    Attributes:
        ticks: Length of the pass.
        seconds: The same in seconds.
    """

    def __init__(self) -> None:
        self.ticks = 0
        self.seconds = 0.0
        self._kept: dict[nn.Module, _Kept] = {}
        self._begins: dict[tuple[str, str], tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def begin(self, parameters: Iterable[str], sites: Iterable[str]) -> int:
        """Return the tick at which the first of them is used; 0 if one never was.

        Of none at all it is behind the end: then the whole pass is as it was.
        """
        return self._first(parameters, sites)[0]

    def share(self, parameters: Iterable[str], sites: Iterable[str]) -> float:
        """Return the share of the pass's time from that tick on, in (0, 1]."""
        before = self._first(parameters, sites)[1]
        return 1 - min(before / self.seconds, 0.99) if self.seconds > 0 else 1.0

    def _first(
        self, parameters: Iterable[str], sites: Iterable[str]
    ) -> tuple[int, float]:
        keys = [("parameter", name) for name in parameters]
        keys += [("site", name) for name in sites]
        # A parameter that no call took as an argument may be read in other ways.
        ends = self.ticks + 1, self.seconds
        return min((self._begins.get(k, (0, 0.0)) for k in keys), default=ends)

    @property
    def intact(self) -> bool:
        """Whether nobody has written to an output that was kept."""
        return all(kept.intact for kept in self._kept.values())

    @contextlib.contextmanager
    def skipping(self, before: int) -> Iterator[None]:
        """Hand out again what was returned before a tick, inside the block.

        Args:
            before: From `begin`; 0 skips nothing.
        """

        def again(kept: _Kept) -> Callable[..., Any]:
            return lambda *_args, **_kwargs: _copied(kept.output)

        with contextlib.ExitStack() as stack:
            for module, kept in self._kept.items():
                if kept.end < before:
                    stack.enter_context(_forward(module, again(kept)))
            yield


@contextlib.contextmanager
def recorded(
    tap: Tap,
    inputs: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    *,
    inside_attention: bool = False,
    keep_bytes: int = KEEP_BYTES,
) -> Iterator[Recording]:
    """Record the one pass that is run inside the block, under `torch.no_grad`.

    The recording may be used once the block is left.

    Args:
        tap: On the network, in evaluation mode.
        inputs: Function of the activation by site name, as in `Tap.quantized`.
        inside_attention: As in `Tap.quantized`.
        keep_bytes: Outputs kept at most; more of them skip more.
    """
    recording = Recording()
    work = _Pass(tap.module, recording, keep_bytes)
    changed = dict(inputs or {})

    class Noting(Listener):
        def activation(self, site: Site, x: Tensor) -> Tensor:
            work.clock.note("site", site.name)
            change = changed.get(site.name)
            return x if change is None else change(x)

    listener = Noting()
    listener.inside_attention = inside_attention
    random = _random_states()
    with contextlib.ExitStack() as stack:
        for path, module in tap.module.named_modules():
            if path and not isinstance(module, torch.jit.ScriptModule):
                stack.enter_context(_forward(module, work.recorder(path, module)))
        stack.enter_context(tap.session(listener))
        before = _states(tap.module)
        with work.clock:
            yield recording
        same = _same_states(before, _states(tap.module))
        drawn = not all(map(torch.equal, random, _random_states()))
        work.close(reusable=same and not drawn)


class _Clock(TorchFunctionMode):
    """Counts calls, and notes when parameters and sites are first met."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.now = 0
        self.begins: dict[tuple[str, str], tuple[int, float]] = {}
        self._start = time.perf_counter()
        self._owners: dict[int, list[str]] = defaultdict(list)
        for name, parameter in module.named_parameters():
            self._owners[parameter.untyped_storage().data_ptr()].append(name)

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def tick(self) -> int:
        self.now += 1
        return self.now

    def note(self, kind: str, name: str) -> None:
        self.begins.setdefault((kind, name), (self.now, self.seconds()))

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.tick()
        for tensor in tensors_in([args, dict(kwargs or {})]):
            if tensor.layout == torch.strided and tensor.device.type != "meta":
                for name in self._owners.pop(tensor.untyped_storage().data_ptr(), ()):
                    self.note("parameter", name)
        return func(*args, **(kwargs or {}))


class _Pass:
    """Collects the calls of the pass that is being recorded."""

    def __init__(self, module: nn.Module, recording: Recording, room: int) -> None:
        self.clock = _Clock(module)
        self._recording = recording
        self._room = room
        self._called: set[nn.Module] = set()

    def recorder(self, path: str, module: nn.Module) -> Callable[..., Any]:
        """Return a forward function that keeps what the module's own returns."""
        own = module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            repeated = module in self._called
            self._called.add(module)
            given = tensors_in([args, kwargs])
            plain = _is_plain(args) and _is_plain(kwargs)
            before = [t._version for t in given] if plain else []
            output = own(*args, **kwargs)
            if repeated:
                self._recording._kept.pop(module, None)
            elif plain and _is_plain(output):
                if before == [t._version for t in given]:
                    self._keep(module, path, output)
            return output

        return forward

    def _keep(self, module: nn.Module, path: str, output: Any) -> None:
        tensors = tuple((t, t._version) for t in tensors_in(output))
        # Whoever gets the output may empty its lists.
        kept = _Kept(path, _copied(output), self.clock.tick(), tensors)
        found = self._recording._kept
        found[module] = kept
        self._room -= kept.size
        while self._room < 0 and found:
            inner = max(found, key=lambda m: (found[m].path.count("."), found[m].size))
            self._room += found.pop(inner).size

    def close(self, *, reusable: bool) -> None:
        """Take down what the pass was, and forget what was written to."""
        found = self._recording._kept if reusable else {}
        self._recording._kept = {m: kept for m, kept in found.items() if kept.intact}
        self._recording.ticks = self.clock.now
        self._recording.seconds = self.clock.seconds()
        self._recording._begins = self.clock.begins


@contextlib.contextmanager
def _forward(module: nn.Module, function: Callable[..., Any]) -> Iterator[None]:
    """Give a module another forward function inside the block."""
    own = module.__dict__.get("forward")
    try:
        module.__dict__["forward"] = function
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own


def _copied(output: Any) -> Any:
    """Return an output in fresh containers, the tensors themselves shared."""
    if isinstance(output, (list, tuple)):
        return type(output)([_copied(part) for part in output])
    if isinstance(output, dict):
        return {key: _copied(part) for key, part in output.items()}
    return output


def _is_plain(value: Any) -> bool:
    """Tell whether a value holds nothing but ordinary tensors and plain values."""
    if isinstance(value, Tensor):
        return type(value) in (Tensor, nn.Parameter) and not value.is_inference()
    if type(value) in (tuple, list, torch.Size):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, _PLAIN)


def _random_states() -> list[Tensor]:
    """Return the state of every random generator that a network may draw from."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return states


def _states(module: nn.Module) -> list[tuple[dict[str, Any], list[int]]]:
    """Return what tells whether a module or one inside was changed."""
    return [_state(inner) for inner in module.modules()]


def _state(module: nn.Module) -> tuple[dict[str, Any], list[int]]:
    held = {k: v for k, v in vars(module).items() if k not in _HOOKS}
    held |= {f"buffer {name}": tensor for name, tensor in module._buffers.items()}
    sized = [len(v) for v in held.values() if isinstance(v, (list, dict, set))]
    written = [
        v._version
        for v in held.values()
        if isinstance(v, Tensor) and not v.is_inference()
    ]
    return held, [*sized, *written]


def _same_states(
    before: Sequence[tuple[dict[str, Any], list[int]]],
    after: Sequence[tuple[dict[str, Any], list[int]]],
) -> bool:
    """Tell whether no attribute was exchanged, grew or was written to."""
    return len(before) == len(after) and all(
        old.keys() == new.keys()
        and old_numbers == new_numbers
        and all(old[key] is new[key] for key in old)
        for (old, old_numbers), (new, new_numbers) in zip(before, after, strict=True)
    )
