"""What an analysis is asked for, as the form, the settings and old runs know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from analysis.described import measures_described
from analysis.measures import DEFAULT, NAMES
from analysis.messages import FORMATS, Analyze, DataRequest
from analysis.runs import RunInfo
from quant_core.errors import QuantError
from quant_core.scheme import Scheme, parse_scheme

SETTINGS_KEY = "analyse"
EXAMPLE, RANDOM, NONE = "example", "random", ""
_DATA = DataRequest(EXAMPLE)
OFFERED = (
    "int2",
    "int3",
    "int4",
    "int5",
    "int6",
    "int7",
    "int8",
    "fp4_e2m1",
    "fp6_e3m2",
    "fp8_e4m3",
    "fp8_e5m2",
    "nf4",
)
INPUTS_OFFERED = (
    "int4",
    "int4_asym",
    "int6",
    "int6_asym",
    "int8",
    "int8_asym",
    "fp8_e4m3",
    "fp8_e5m2",
)
GRANULARITIES = ("channel", "tensor", "group(32)", "group(64)", "group(128)")
INPUT_GRANULARITIES = ("tensor", "token")
RANGES = (
    ("minmax", "Smallest to largest value"),
    ("mse", "Least squared rounding error"),
    ("percentile(99.9)", "99.9th percentile"),
)


@dataclass(frozen=True)
class AnalysisRequest:
    """What the user asks for.

    Attributes:
        data: "example", "random", a path, `package.module:callable`, or "" for none.
        samples: Calibration samples to use at most.
        max_length: Tokens per sample at most, for text.
        seed: Seed of every random draw.
        measures: Keys of the measures.
        formats: Number formats of the weights.
        granularity: What shares a scale.
        range: How a scale is chosen.
        input_formats: Number formats of the input activations; empty to leave these
            out.
        input_granularity: What shares a scale among input activations.
        params: Parameters of measures by key and name, where they differ from the
            defaults.
    """

    data: str = EXAMPLE
    samples: int = _DATA.samples
    max_length: int = _DATA.max_length
    seed: int = _DATA.seed
    measures: tuple[str, ...] = DEFAULT
    formats: tuple[str, ...] = FORMATS
    granularity: str = "channel"
    range: str = "minmax"
    input_formats: tuple[str, ...] = ("int8",)
    input_granularity: str = "tensor"
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """Weight schemes, in the order of the table of formats."""
        return tuple(
            parse_scheme(f"{name}/{self.granularity}/{self.range}")
            for name in OFFERED
            if name in self.formats
        )

    @property
    def input_schemes(self) -> tuple[Scheme, ...]:
        """Schemes of the input activations."""
        return tuple(
            Scheme(name, self.input_granularity)
            for name in INPUTS_OFFERED
            if name in self.input_formats
        )

    @property
    def job(self) -> Analyze:
        """The analysis, as the worker is told."""
        data = None
        if self.data:
            data = DataRequest(self.data, self.samples, self.seed, self.max_length)
        return Analyze(
            measures=self.measures,
            schemes=self.schemes,
            input_schemes=self.input_schemes,
            params=self.params,
            data=data,
            seed=self.seed,
        )

    def on_data_of(self, run: RunInfo) -> AnalysisRequest:
        """Return the same request for the data of a run, so that both compare."""
        return replace(
            self,
            data=run.data_source or self.data,
            samples=int(run.params.get("samples", self.samples)),
            max_length=int(run.params.get("max_length", self.max_length)),
            seed=run.seed,
        )

    @classmethod
    def of_run(cls, run: RunInfo) -> AnalysisRequest:
        """Return the request that would repeat a run, as far as the form can say."""
        default = cls()
        schemes = [parse_scheme(key) for key in run.params.get("schemes", [])]
        first = schemes[0] if schemes else Scheme("int8")
        ranges = [key for key, _ in RANGES]
        given = run.params.get("input_schemes")
        inputs = default.input_schemes if given is None else map(parse_scheme, given)
        stored = {scheme.format: scheme.granularity for scheme in inputs}
        return cls(
            data=run.data_source or default.data,
            samples=int(run.params.get("samples", default.samples)),
            max_length=int(run.params.get("max_length", default.max_length)),
            seed=run.seed,
            measures=(run.measure,),
            formats=tuple(s.format for s in schemes if s.format in OFFERED),
            granularity=first.granularity,
            range=first.range if first.range in ranges else default.range,
            input_formats=tuple(stored),
            input_granularity=next(iter(stored.values()), default.input_granularity),
            params=_own_params(run),
        )

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any]) -> AnalysisRequest:
        """Return a request kept in the settings; odd entries give the default."""
        default = cls()
        chosen: dict[str, Any] = {}
        for name, value in asdict(default).items():
            kept = saved.get(name)
            if isinstance(value, tuple) and isinstance(kept, list):
                chosen[name] = tuple(map(str, kept))
            elif type(kept) is type(value) and not isinstance(value, dict):
                chosen[name] = kept
        chosen["measures"] = tuple(
            key for key in chosen.get("measures", DEFAULT) if key in NAMES
        )
        request = cls(**chosen)
        try:
            usable = bool(request.schemes) and request.input_schemes is not None
        except QuantError:
            usable = False
        return request if usable else default

    def to_save(self) -> dict[str, Any]:
        """Return what `from_saved` reads; parameters are kept apart, by measure."""
        saved = {
            k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()
        }
        del saved["params"]
        return saved


def _own_params(run: RunInfo) -> dict[str, dict[str, Any]]:
    """Return what a run's measure was told and does not do by itself."""
    measure = measures_described().get(run.measure)
    given = {
        info.name: run.params[info.name]
        for info in (measure.parameters if measure else ())
        if run.params.get(info.name, info.default) != info.default
    }
    return {run.measure: given} if given else {}


def summary(measures: Sequence[str]) -> str:
    """Return what a run of these measures is called in lists."""
    known = measures_described()
    return ", ".join(known[key].title if key in known else key for key in measures)
