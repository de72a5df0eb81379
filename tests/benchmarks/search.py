"""Speed of the searches, and their objective beside other solvers on the same tables.

Run from the project's root: `python -m tests.benchmarks.search [--quick]`. PuLP with
CBC (as HAWQ-V3 calls it), the solver of NVIDIA's Model Optimizer and the one of
AutoRound's AutoScheme are compared where they are installed (`make peers` does); both
sides solve the same table in the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from analysis.search.budget import Budget
from analysis.search.dynamic import Dynamic
from analysis.search.exact import Exact
from analysis.search.front import front
from analysis.search.greedy import Greedy
from analysis.search.problem import CostTable
from analysis.search.uniform import Uniform
from quant_core.scheme import Scheme
from quant_core.sites import Layer

T = TypeVar("T")
Choice = NDArray[np.int64]
Peer = Callable[[CostTable, float, float], Choice | None]

FORMATS = ("int2", "int3", "int4", "nf4", "int5", "int6", "int8")
EXPERTS = 64
AUTO_STATES = 500
FRONT_SECONDS, EXACT_SECONDS, TIED_SECONDS, GAP = 1.0, 5.0, 10.0, 1e-4


def table(layers: int, *, tied: bool = False, scale: float = 1.0) -> CostTable:
    """Return random costs of 8 formats, float among them.

    Args:
        layers: How many.
        tied: Whether the experts of a block share a format.
        scale: Factor of all errors.
    """
    rng = np.random.default_rng(0)
    schemes = tuple(Scheme(name) for name in FORMATS)
    widths = np.array([32.0, *(scheme.bits for scheme in schemes)])
    rows = rng.integers(1, 2000, layers)
    cost = np.exp(rng.normal(0, 3, (layers, 1))) * 4.0**-widths
    cost *= np.exp(rng.normal(0, 0.3, cost.shape)) * scale
    cost[:, 0] = 0
    bits = 512.0 * rows[:, None] * widths + np.where(widths < 32, 16 * rows[:, None], 0)
    ties = [
        tuple(range(start, min(start + EXPERTS, layers)))
        for start in range(0, layers, EXPERTS)
    ]
    return CostTable(
        tuple(
            Layer(f"l{i}", f"l{i}.weight", "linear", (int(n), 512), "float32")
            for i, n in enumerate(rows)
        ),
        (None, *schemes),
        cost,
        bits,
        bits * 100,
        tuple(ties) if tied else (),
    )


def best_of(runs: int, work: Callable[[], T]) -> tuple[float, T]:
    """Return the shortest time [s] and the last result."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def verdict(seconds: float, target: float) -> str:
    """Return a time beside what it should be at most."""
    told = "met" if seconds <= target else "MISSED"
    return f"{seconds:7.3f} s  (target {target:g} s: {told})"


def speed(layers: int, experts: int) -> None:
    costs, budget = table(layers), Budget.parse("bits<=4.3")
    seconds, line = best_of(3, lambda: front(costs))
    print(f"whole front, {layers} layers x 8: {verdict(seconds, FRONT_SECONDS)}")
    print(f"  {len(line)} points")
    for method in (Exact(), Dynamic(), Greedy(), Uniform()):
        seconds, found = best_of(2, lambda method=method: method.run(costs, budget))  # type: ignore[misc]
        told = verdict(seconds, EXACT_SECONDS)
        print(f"{method.key:8} at 4.3 bits: {told}")
        print(f"  error {found.cost:.6g}, gap {found.gap:.2g}, proven {found.proven}")
        if isinstance(method, Exact):
            assert found.gap < GAP
    several = Budget.parse("bits<=4.5,bops<=0.14x")
    seconds, found = best_of(1, lambda: Exact().run(costs, several))
    print(f"exact, two limits: {verdict(seconds, EXACT_SECONDS)}  gap {found.gap:.2g}")
    tied = table(experts, tied=True)
    for method in (Exact(), Dynamic()):
        seconds, found = best_of(2, lambda method=method: method.run(tied, budget))  # type: ignore[misc]
        told = verdict(seconds, TIED_SECONDS)
        print(f"{method.key:8} {experts} tied layers: {told}  gap {found.gap:.2g}")


def with_pulp(costs: CostTable, bits: float, factor: float) -> Choice | None:
    """Return what PuLP's CBC chooses, None when it finds nothing.

    Args:
        costs: The table, without ties.
        bits: Budget per weight.
        factor: What errors are multiplied by before they go in.
    """
    import pulp

    layers, options = costs.cost.shape
    problem = pulp.LpProblem("bits", pulp.LpMinimize)
    x = [
        [pulp.LpVariable(f"x{i}_{k}", cat="Binary") for k in range(options)]
        for i in range(layers)
    ]
    cells = [(i, k) for i in range(layers) for k in range(options)]
    problem += pulp.lpSum(float(costs.cost[i, k] * factor) * x[i][k] for i, k in cells)
    most = bits * costs.parameters
    problem += pulp.lpSum(float(costs.bits[i, k]) * x[i][k] for i, k in cells) <= most
    for row in x:
        problem += pulp.lpSum(row) == 1
    problem.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=120))
    if pulp.LpStatus[problem.status] != "Optimal":
        return None
    return np.array([[v.value() or 0.0 for v in row] for row in x]).argmax(1)


def with_model_optimizer(costs: CostTable, bits: float, factor: float) -> Choice | None:
    """Return what the linear programs of NVIDIA's Model Optimizer choose."""
    from modelopt.torch.opt.searcher import LPS

    solver = LPS(
        "bits",
        {"bits": bits * costs.parameters},
        {"bits": costs.bits.tolist()},
        (costs.cost * factor).tolist(),
    )
    choice, status = solver()
    return np.array(choice) if status == "Optimal" else None


def with_auto_scheme(costs: CostTable, bits: float, factor: float) -> Choice | None:
    """Return what the dynamic program of AutoRound's AutoScheme chooses.

    By default it keeps as many states as there are, which for layers of unlike sizes
    doubles with every layer; it gets a limit of them here.
    """
    from auto_round.auto_scheme.delta_loss import choose_bits_per_layer_with_path

    options = {
        str(i): [
            (k, int(size), float(cost * factor), [str(i)])
            for k, (size, cost) in enumerate(zip(*row, strict=True))
        ]
        for i, row in enumerate(zip(costs.bits, costs.cost, strict=True))
    }
    most = int(bits * costs.parameters)
    _, path = choose_bits_per_layer_with_path(options, most, max_states=AUTO_STATES)
    return None if path is None else np.array([scheme for _, scheme in path])


# Package, function, and for how many layers it ends within minutes.
PEERS: dict[str, tuple[str, Peer, int]] = {
    "CBC": ("pulp", with_pulp, 2_000),
    "Model Optimizer": ("modelopt", with_model_optimizer, 2_000),
    "AutoScheme": ("auto_round", with_auto_scheme, 50),
}


def beside_peers(sizes: tuple[int, ...]) -> None:
    for name, (package, peer, most) in PEERS.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name} is left out: {package} is not installed")
            continue
        for layers in (size for size in sizes if size <= most):
            for scale, factor in ((1.0, 1.0), (1e-9, 1.0), (1e-9, 1e9)):
                one_beside(name, peer, table(layers, scale=scale), scale, factor)


def one_beside(
    name: str, peer: Peer, costs: CostTable, scale: float, factor: float
) -> None:
    """Print one comparison; our searches get the errors as they are."""
    runs = 3 if len(costs.layers) <= 300 else 1
    theirs, choice = best_of(runs, lambda: peer(costs, 4.3, factor))
    told = f"{len(costs.layers):5} layers, errors x {scale:g}"
    if factor != 1:
        told += f" ({name} given x {scale * factor:g})"
    if choice is None:
        print(f"{told}: {name} found nothing")
        return
    used = costs.total(costs.bits, choice) / costs.parameters
    if used > 4.3 * (1 + 1e-9):
        told += f", {name} breaks the budget with {used:.6g} bits"
    print(told)
    budget = Budget.parse("bits<=4.3")
    for method in (Exact(), Dynamic()):
        seconds, found = best_of(runs, lambda method=method: method.run(costs, budget))  # type: ignore[misc]
        ratio = found.cost / costs.total(costs.cost, choice)
        print(
            f"  {method.key:8} error {ratio:.9f} of {name}'s, "
            f"{theirs / seconds:6.1f} times as fast"
        )
        assert ratio <= 1 + 1e-9 or used > 4.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    quick = parser.parse_args().quick
    speed(1_000 if quick else 10_000, 6_000 if quick else 60_000)
    beside_peers((50, 300) if quick else (50, 300, 2_000))


if __name__ == "__main__":
    main()
