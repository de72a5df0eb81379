"""The Python lines and the command line that repeat a job.

Both are built from the job's own description, every value is quoted, and both give
the results of the job when they are run: what the window does, a script does too.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.messages import Analyze, DataRequest
from analysis.requests import analysis_like
from analysis.search.problem import MEASURE
from quant_core.scheme import Scheme

if TYPE_CHECKING:
    from analysis.runs import RunInfo

_PROGRAM = "quantscope"


@dataclass(frozen=True, slots=True)
class Script:
    """How to repeat a job outside the window.

    Attributes:
        python: Lines for a script or a notebook.
        command: One line for a POSIX shell.
    """

    python: str
    command: str

    @property
    def text(self) -> str:
        """The Python lines with the command line above, as a comment."""
        return f"# Command line:\n# {self.command}\n\n{self.python}"


def analysis_script(
    source: str, output: str, job: Analyze, task: str = "auto"
) -> Script:
    """Return how to repeat an analysis, into a new project.

    Args:
        source: What the model was opened from.
        output: The project to make.
        job: What was asked for; what it may continue is not repeated.
        task: How outputs are compared.
    """
    data = job.data
    lines = ["from analysis import Project, analyze, load_data, load_model"]
    lines += ["from analysis.jobs import DataRequest"] * (data is not None)
    if data is None:
        lines[0] = "from analysis import Project, analyze, load_model"
    lines += ["from quant_core.scheme import parse_scheme", ""]
    lines += _opening(source, task, data)
    if data is not None:
        lines.append(f"request = {_call('DataRequest', *_data_values(data))}")
    arguments = ["model", "data" if data is not None else "None"]
    if job.measures is not None:
        arguments.append(f"measures={list(job.measures)!r}")
    arguments.append("project=project")
    arguments.append(f"schemes={_schemes(job.schemes)}")
    if job.input_schemes:
        arguments.append(f"input_schemes={_schemes(job.input_schemes)}")
    if job.params:
        arguments.append(f"params={_plain(job.params)!r}")
    arguments.append(f"seed={job.seed!r}")
    if job.batch_size:
        arguments.append(f"batch_size={job.batch_size!r}")
    if job.workers > 1:
        arguments.append(f"workers={job.workers!r}")
    if data is not None:
        arguments.append("request=request")
    lines.append(f"with Project.create(model.info, {output!r}) as project:")
    lines += ["    for _ in analyze(", *_indented(arguments, 8), "    ):"]
    lines += ["        pass", "    project.save()"]
    words = ["analyze", source, "-o", output, *_data_options(data, job.seed)]
    if job.measures is not None:
        words += ["--measures", ",".join(job.measures)]
    words += ["--formats", _keys(job.schemes)]
    if job.input_schemes:
        words += ["--input-formats", _keys(job.input_schemes)]
    words += _param_options(job.params)
    if job.batch_size:
        words += ["--batch-size", str(job.batch_size)]
    if job.workers > 1:
        words += ["--workers", str(job.workers)]
    words += ["--task", task] if task != "auto" else []
    return Script(_joined(lines), _shell(words))


def run_script(source: str, output: str, run: RunInfo) -> Script:
    """Return how to repeat one run of a project, into a new project.

    Args:
        source: What the model was opened from.
        output: The project to make.
        run: The run; its settings are kept with it.
    """
    return analysis_script(source, output, analysis_like(run), run.task or "auto")


def search_script(
    project: str,
    budget: str,
    *,
    target: str = "any",
    method: str = "exact",
    params: Mapping[str, Any] | None = None,
    objective: str = MEASURE,
    inputs: bool = False,
    rules: Sequence[str] = (),
    costs: Mapping[str, str] | None = None,
    runs: Runs | None = None,
) -> Script:
    """Return how to repeat a search; the result becomes the current assignment.

    Args:
        project: The project file, saved with its locks and ties.
        budget: The limits.
        target: The deployment target.
        method: Key of the search.
        params: Its parameters.
        objective: What is minimised.
        inputs: Whether the formats of input activations are chosen as well.
        rules: Floors, ceilings and fixed formats.
        costs: Files of cost tables by the names that the budget uses.
        runs: How candidates are run; None when nothing is.
    """
    asked = [f"project, {budget!r}", f"method={method!r}"]
    asked += [f"params={_plain(params)!r}"] if params else []
    asked += [f"objective={objective!r}"] if objective != MEASURE else []
    asked += ["inputs=True"] if inputs else []
    asked += [f"rules={list(rules)!r}"] if rules else []
    asked += [f"costs={dict(costs)!r}"] if costs else []
    lines = [
        "from analysis import Project, find_assignment",
        "",
        f"with Project.open({project!r}) as project:",
        f"    project.target = {target!r}",
        f"    found = find_assignment({', '.join(asked)})",
        "    project.set_assignment(found)",
        "    project.save()",
        "    print(project.totals, project.prediction)",
    ]
    if runs is not None:
        lines = runs.lines(project, target, asked)
    words = ["search", project, *(["--budget", budget] if budget else [])]
    words += ["--method", method]
    words += ["--target", target, *_param_options({method: params or {}})]
    words += ["--objective", objective] if objective != MEASURE else []
    words += ["--inputs"] if inputs else []
    for rule in rules:
        kind, _, text = rule.partition(" ")
        words += [f"--{kind.replace('_', '-')}", text]
    for name, path in (costs or {}).items():
        words += ["--cost-table", f"{name}={path}"]
    words += [] if runs is None else runs.words()
    return Script(_joined(lines), _shell(words))


@dataclass(frozen=True, slots=True)
class Runs:
    """How a search runs candidates.

    Attributes:
        source: What the model was opened from.
        data: What candidates are run on.
        how: "verify", "refine" or "keep".
        keep: What may be lost, with "keep".
        plan: Parameters of `Refinement` that differ from the defaults.
        task: How outputs are compared.
    """

    source: str
    data: DataRequest
    how: str
    keep: str = ""
    plan: Mapping[str, int] = field(default_factory=dict)
    task: str = "auto"

    def lines(self, project: str, target: str, asked: Sequence[str]) -> list[str]:
        """Return the Python lines; `asked` are arguments of `find_assignment`."""
        fixed = {"rounds": 1, "singles": 0} if self.how == "verify" else {}
        plan = {**self.plan, **fixed}
        more = [f"plan={plan!r}"] if plan else []
        more += [f"keep={self.keep!r}"] if self.keep else []
        return [
            "from analysis import Project, load_data, load_model, refine_assignment",
            "from analysis.jobs import DataRequest",
            "from analysis.search.trial import Refined",
            "",
            *_opening(self.source, self.task, self.data),
            f"request = {_call('DataRequest', *_data_values(self.data))}",
            f"with Project.open({project!r}) as project:",
            f"    project.target = {target!r}",
            "    steps = refine_assignment(",
            *_indented(["model", "data", *asked, *more, "request=request"], 8),
            "    )",
            "    tried = [step for step in steps if isinstance(step, Refined)]",
            "    project.set_assignment(tried[-1].best.assignment)",
            "    project.save()",
            "    print(tried[-1].describe())",
        ]

    def words(self) -> list[str]:
        """Return the options of the command line."""
        how = [f"--{self.how}", *([self.keep] if self.how == "keep" else [])]
        plan = _param_options({"refine": self.plan})
        data = _data_options(self.data, self.data.seed)
        return [*how, *plan, *data, "--model", self.source]


def evaluation_script(
    source: str,
    project: str,
    data: DataRequest,
    *,
    assignment: str | None = None,
    batch_size: int = 0,
    task: str = "auto",
) -> Script:
    """Return how to repeat the measurement of an assignment.

    Args:
        source: What the model was opened from.
        project: The project file, saved.
        data: The samples.
        assignment: Name of a kept assignment; None for the current one.
        batch_size: Samples per forward call; 0 for the usual number.
        task: How outputs are compared.
    """
    size = f", batch_size={batch_size!r}" if batch_size else ""
    lines = [
        "from analysis import Project, evaluate, load_data, load_model",
        "",
        *_opening(source, task, data),
        f"with Project.open({project!r}) as project:",
        f"    plan = {_plan(assignment)}",
        "    for _ in evaluate(",
        f"        model, data, plan, project=project, seed={data.seed!r}{size}",
        "    ):",
        "        pass",
        "    project.save()",
        "    print(project.measured_of(plan))",
    ]
    words = ["evaluate", project, *_data_options(data, data.seed)]
    words += ["--model", source]
    words += ["--assignment", assignment] if assignment is not None else []
    words += ["--batch-size", str(batch_size)] if batch_size else []
    return Script(_joined(lines), _shell(words))


def export_script(
    project: str, key: str, output: str, *, assignment: str | None = None
) -> Script:
    """Return how to repeat an export; an existing file is replaced, as in the window.

    Args:
        project: The project file, saved.
        key: Key of the exporter.
        output: File to write.
        assignment: Name of a kept assignment; None for the current one.
    """
    name = f", name={assignment!r}" if assignment is not None else ""
    lines = [
        "from analysis import Project, export_assignment",
        "",
        f"with Project.open({project!r}) as project:",
        f"    plan = {_plan(assignment)}",
        "    export_assignment(",
        f"        project, plan, {key!r}, {output!r}{name}, overwrite=True",
        "    )",
    ]
    words = ["export", project, "--to", key, "-o", output, "--overwrite"]
    words += ["--assignment", assignment] if assignment is not None else []
    return Script(_joined(lines), _shell(words))


def report_script(
    project: str, output: str, *, assignment: str | None = None
) -> Script:
    """Return how to repeat a report; an existing file is replaced, as in the window.

    Args:
        project: The project file, saved.
        output: File to write.
        assignment: Name of a kept assignment; None for the current one.
    """
    chosen = ""
    if assignment is not None:
        chosen = f", assignment={_plan(assignment)}, name={assignment!r}"
    lines = [
        "from analysis import Project, write_report",
        "",
        f"with Project.open({project!r}) as project:",
        f"    write_report(project, {output!r}{chosen}, overwrite=True)",
    ]
    words = ["report", project, "-o", output, "--overwrite"]
    words += ["--assignment", assignment] if assignment is not None else []
    return Script(_joined(lines), _shell(words))


# -- Python ---------------------------------------------------------------------------


def _opening(source: str, task: str, data: DataRequest | None) -> list[str]:
    """Return the lines that open model and data."""
    told = f", task={task!r}" if task != "auto" else ""
    lines = [f"model = load_model({source!r}{told})"]
    if data is not None:
        first, *rest = _data_values(data)
        lines.append(f"data = {_call('load_data', first, 'model', *rest)}")
    return lines


def _data_values(data: DataRequest) -> list[str]:
    """Return the source and the other fields as keyword arguments."""
    fields = [f.name for f in dataclasses.fields(data) if f.name != "source"]
    return [repr(data.source), *(f"{name}={getattr(data, name)!r}" for name in fields)]


def _call(name: str, *arguments: str) -> str:
    return f"{name}({', '.join(arguments)})"


def _schemes(schemes: Sequence[Scheme]) -> str:
    inside = ", ".join(repr(scheme.key) for scheme in schemes)
    return f"[parse_scheme(key) for key in [{inside}]]"


def _plan(assignment: str | None) -> str:
    if assignment is None:
        return "project.assignment"
    return f"project.find_assignment({assignment!r})"


def _indented(arguments: Sequence[str], by: int) -> list[str]:
    return [f"{' ' * by}{argument}," for argument in arguments]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings as dictionaries, whose `repr` is Python."""
    return {
        key: _plain(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


# -- the command line -----------------------------------------------------------------


def _shell(words: Sequence[str]) -> str:
    return shlex.join([_PROGRAM, *words])


def _data_options(data: DataRequest | None, seed: int) -> list[str]:
    if data is None:
        return ["--seed", str(seed)]
    return [
        *("--data", data.source),
        *("--samples", str(data.samples)),
        *("--seed", str(data.seed)),
        *("--max-length", str(data.max_length)),
    ]


def _keys(schemes: Sequence[Scheme]) -> str:
    return ",".join(scheme.key for scheme in schemes)


def _param_options(params: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return parameters of methods as options, as `analysis.cli.options` reads them."""
    words = []
    for key, values in params.items():
        for name, value in values.items():
            flag = f"{key}.{name}"
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif isinstance(value, (list, tuple)):
                words += [f"--{flag}", ",".join(map(str, value))]
            else:
                words += [f"--{flag}", str(value)]
    return words
