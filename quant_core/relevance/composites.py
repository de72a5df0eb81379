"""Which rule each op gets: the rule sets by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from quant_core.errors import QuantError
from quant_core.relevance.weight_rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
    ZPlus,
)

Kind = Literal["conv", "linear"]

TINY = 1e-9
"""Keeps denominators from 0 where a rule has no epsilon of its own."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A rule and the ops it is for.

    Attributes:
        rule: The rule.
        kind: Convolutions or matrix products only; None for both.
        first: Only ops that take the network's input itself.
        below: Only ops in this first part of the network, as a share of its layers.
    """

    rule: Rule
    kind: Kind | None = None
    first: bool = False
    below: float = 1.0

    def fits(self, kind: Kind, first: bool, depth: float) -> bool:
        """Tell whether an op of a kind, at a depth in [0, 1), gets this rule."""
        return (
            (self.kind is None or self.kind == kind)
            and (first or not self.first)
            and depth < self.below
        )


@dataclass(frozen=True, slots=True)
class Composite:
    """Rules for every kind of op.

    Attributes:
        slots: Rules for ops with weights; the first that fits is used.
        softmax: `taylor` is AttnLRP's rule; `constant` sends nothing through softmax
            and all to the values (CP-LRP, Ali et al. 2022); `identity` lets relevance
            pass unchanged.
        identity_norms: Relevance passes normalisation unchanged; else it is linear
            with its standard deviation held fixed, as in AttnLRP.
        rescaled_sums: Sums of activations share by the totals of the operands.
        fold: Batch-norms are merged with the convolution or matrix before them.
        tiny: Keeps denominators of ops without weights from 0.
    """

    slots: tuple[Slot, ...]
    softmax: Literal["taylor", "constant", "identity"] = "taylor"
    identity_norms: bool = False
    rescaled_sums: bool = False
    fold: bool = True
    tiny: float = TINY

    def rule_for(self, kind: Kind, first: bool, depth: float) -> Rule:
        """Return the rule of an op with a weight.

        Args:
            kind: What the op is.
            first: It takes the network's input itself.
            depth: How much of the network lies before it, in [0, 1).

        Raises:
            QuantError: no slot fits.
        """
        for slot in self.slots:
            if slot.fits(kind, first, depth):
                return slot.rule
        raise QuantError(
            f"The rule set has no rule for this {kind} op.", hint="Add a last slot."
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers that rules take.

    Attributes:
        epsilon: Stabilizer of all rules for weights.
        gamma: Of the gamma rule.
        alpha: Of the alpha-beta rule; beta is `alpha - 1`.
        low: Smallest value an input can take, for z-box; None looks at the sample.
        high: Largest value an input can take.
    """

    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    low: float | None = None
    high: float | None = None


def _plain(rule: Callable[[Settings], Rule]) -> Callable[[Settings], Composite]:
    return lambda settings: Composite((Slot(rule(settings)),))


def _epsilon(settings: Settings) -> Rule:
    return Epsilon(settings.epsilon)


def _gamma(settings: Settings) -> Rule:
    return Gamma(settings.gamma, settings.epsilon)


def _z_plus(settings: Settings) -> Rule:
    return ZPlus(settings.epsilon)


def _alpha_beta(settings: Settings) -> Rule:
    return AlphaBeta(settings.alpha, settings.alpha - 1, settings.epsilon)


def _z_box(settings: Settings) -> Rule:
    return ZBox(settings.low, settings.high, settings.epsilon)


def _mixed(
    conv: Callable[[Settings], Rule],
    first: Callable[[Settings], Rule] | None = None,
    below: float = 1.0,
) -> Callable[[Settings], Composite]:
    """Return a set with epsilon on matrices and other rules on convolutions."""

    def make(settings: Settings) -> Composite:
        slots = [Slot(conv(settings), "conv", below=below), Slot(_epsilon(settings))]
        if first is not None:
            slots.insert(0, Slot(first(settings), first=True))
        return Composite(tuple(slots))

    return make


def _chefer(settings: Settings) -> Composite:
    del settings
    return Composite(
        (Slot(ZBox(epsilon=TINY), "conv", first=True), Slot(ZPlus(TINY, bias=False))),
        softmax="identity",
        identity_norms=True,
        rescaled_sums=True,
        fold=False,
    )


COMPOSITES: dict[str, Callable[[Settings], Composite]] = {
    "attnlrp": _plain(_epsilon),
    "chefer": _chefer,
    "epsilon": lambda s: Composite((Slot(_epsilon(s)),), softmax="constant"),
    "gamma": _plain(_gamma),
    "z_plus": _plain(_z_plus),
    "alpha_beta": _plain(_alpha_beta),
    "w_square": _plain(lambda settings: WSquare(settings.epsilon)),
    "flat": _plain(lambda settings: Flat(settings.epsilon)),
    "epsilon_plus": _mixed(_z_plus),
    "epsilon_plus_flat": _mixed(_z_plus, lambda settings: Flat(settings.epsilon)),
    "epsilon_alpha_beta": _mixed(_alpha_beta),
    "epsilon_gamma_box": _mixed(_gamma, _z_box),
    "epsilon_gamma_lower": _mixed(_gamma, _z_box, below=0.5),
}
"""Rule sets by name. `attnlrp` (Achtibat et al., arXiv 2402.05602) is the epsilon rule
on every weight, `epsilon` the same with attention held constant. `chefer` is Chefer et
al., CVPR 2021, which LRP-QViT, arXiv 2401.11243, builds on. The others treat what has
no weight as AttnLRP does."""
