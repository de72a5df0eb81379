"""Data that need no file: held-out data of the examples, and random inputs."""

from __future__ import annotations

from analysis.data.request import Found, Request
from analysis.errors import AnalysisError
from analysis.load.example import PREFIX, examples, held_out

_DEFAULT_RANDOM = 64


def read_example(request: Request) -> Found:
    """Return the held-out data of the bundled example that the model is."""
    source = request.model.info.source
    if not source.startswith(PREFIX):
        raise AnalysisError(
            "`example` data belong to the bundled examples.",
            value=source,
            allowed=", ".join(PREFIX + name for name in examples()),
            hint="Give a data file, or `random`.",
        )
    tensors = held_out(source)
    name = request.model.input_hints.get("input_name")
    if "images" in tensors:
        images = tensors["images"]
        if isinstance(name, str):
            return Found({name: images}, (), tensors["labels"])
        return Found({}, (images,), tensors["labels"])
    ids = tensors["input_ids"]
    mask = ids.new_ones(ids.shape)
    return Found({"input_ids": ids, "attention_mask": mask}, (), ids)


def draw_random(request: Request) -> Found:
    """Return random inputs of the right shape and type, with a warning."""
    draw = request.model.example_inputs
    if draw is None:
        raise AnalysisError(
            "Random data cannot be drawn: the inputs of the network are not known.",
            value=request.model.info.source,
            allowed="networks whose inputs are known",
            hint="Let the factory return (module, example_inputs), or give data.",
        )
    args, kwargs = draw(request.samples or _DEFAULT_RANDOM, request.seed)
    return Found(
        kwargs,
        args,
        None,
        (
            "The data are random numbers. Activations, and errors that depend on "
            "them, say little about real use.",
        ),
    )
