"""The assignment being edited, the kept ones, the target, the ties, the bookmarks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.layout import Tree, assignment_from, assignment_tree
from analysis.model import ModelInfo
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from quant_core.targets import get_target

CURRENT = "current"
"""Name of the assignment being edited."""

RESERVED = {
    CURRENT: "the assignment being edited",
    "present": "the assignment being edited",
    "stored float": "the model as it is stored",
}
"""Names that no kept assignment can have in any case, with what they stand for."""

Indices = Iterable[int] | NDArray[np.integer]


class Assignments:
    """What `Project` knows of assignments; edits return the layers they changed.

    Attributes:
        current: The assignment being edited.
        kept: Assignments kept under a name.
        target: Name of the deployment target.
        starred: Bookmarked layers, bool `[layers]`, read-only.

    Args:
        info: The model.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.target = "any"
        self.kept: dict[str, Assignment] = {}
        self.starred = np.zeros(len(info.layers), dtype=np.bool_)
        self.starred.flags.writeable = False
        self.adopt(info)
        self.current = self._base

    def adopt(self, info: ModelInfo) -> None:
        """Take over the layers and ties of a model, keeping all choices."""
        before = self.tree() if hasattr(self, "_base") else None
        self._info = info
        self._base = Assignment.float(info.layers, info.name, info.digest)
        self._group = self._tie_groups()
        if before is not None:
            self.set_tree(before)

    def _tie_groups(self) -> NDArray[np.int64]:
        """Return a group number per layer: equal for layers that change together."""
        names = [layer.name for layer in self._info.layers]
        self.ties = (*self._info.ties, *get_target(self.target).ties(names))
        group = np.arange(len(names))
        for tie in self.ties:
            members = np.asarray(tie, dtype=np.int64)
            joined = np.unique(group[members])
            if len(joined) == len(members):
                group[members] = joined[0]
            else:
                group[np.isin(group, joined)] = joined[0]
        return group

    @property
    def tie_groups(self) -> NDArray[np.int64]:
        """Group number per layer, equal for layers that change together (a copy)."""
        return self._group.copy()

    def set_starred(self, indices: Indices, starred: bool) -> NDArray[np.int64]:
        """Bookmark layers or forget their bookmarks; return those that changed.

        Raises:
            AnalysisError: an index is no layer.
        """
        chosen = self.indices(indices)
        changed = np.asarray(chosen[self.starred[chosen] != starred])
        if not len(changed):
            return changed
        stars = self.starred.copy()
        stars[changed] = starred
        stars.flags.writeable = False
        self.starred = stars
        return changed

    # -- edits -----------------------------------------------------------------------

    def tied(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices and all layers tied to them, sorted."""
        marked = np.zeros(len(self._group), dtype=bool)
        marked[self._group[indices]] = True
        return np.flatnonzero(marked[self._group])

    def _editable(self, indices: Indices, ties: bool) -> NDArray[np.int64]:
        """Return what an edit of these layers may change.

        A locked layer holds all layers tied to it: they could not stay equal.
        """
        chosen = self.indices(indices)
        locked = np.flatnonzero(self.current.locked)
        if ties:
            chosen, locked = self.tied(chosen), self.tied(locked)
        free = np.ones(len(self._group), dtype=bool)
        free[locked] = False
        return chosen[free[chosen]]

    def indices(self, indices: Indices) -> NDArray[np.int64]:
        """Return layer indices sorted, each once.

        Raises:
            AnalysisError: an index is no layer.
        """
        if not isinstance(indices, np.ndarray):
            indices = np.fromiter(indices, dtype=np.int64)
        chosen = indices.astype(np.int64)
        layers = len(self._group)
        if len(wrong := chosen[(chosen < 0) | (chosen >= layers)]):
            raise AnalysisError(
                "There is no layer with this index.",
                value=wrong[0],
                allowed=f"0 to {layers - 1}",
            )
        # Sorting, which `np.unique` does, takes longer than all the rest of an edit.
        marked = np.zeros(layers, dtype=np.bool_)
        marked[chosen] = True
        return np.flatnonzero(marked)

    def replace(self, assignment: Assignment) -> NDArray[np.int64]:
        """Make `assignment` the current one.

        Raises:
            AnalysisError: it belongs to another model.
        """
        assignment = self.ours(assignment)
        changed = self.current.diff(assignment)
        self.current = assignment
        return changed

    def set_weight(
        self, indices: Indices, scheme: Scheme | None, ties: bool
    ) -> NDArray[np.int64]:
        """Give layers a weight scheme, but for locked ones."""
        chosen = self._editable(indices, ties)
        return self.replace(self.current.with_weight(chosen, scheme))

    def set_input(
        self, indices: Indices, scheme: Scheme | None, ties: bool
    ) -> NDArray[np.int64]:
        """Give the inputs of layers a scheme, but for locked ones."""
        chosen = self._editable(indices, ties)
        return self.replace(self.current.with_input(chosen, scheme))

    def set_locked(self, indices: Indices, locked: bool) -> NDArray[np.int64]:
        """Lock or unlock layers."""
        return self.replace(self.current.with_locked(self.indices(indices), locked))

    def check(self, assignment: Assignment) -> None:
        """Refuse an assignment of another model.

        Raises:
            AnalysisError: its model or its layers differ.
        """
        digest, name = assignment.model_digest, assignment.model_name
        if digest and digest != self._info.digest:
            raise AnalysisError(
                "The assignment was made for another model.",
                value=f"{name} ({digest[:12]})",
                allowed=f"{self._info.name} ({self._info.digest[:12]})",
            )
        # Layers are compared by name: what is known of them may have grown.
        same = assignment.layers is self._base.layers or (
            [x.name for x in assignment.layers] == [x.name for x in self._base.layers]
        )
        if not same:
            raise AnalysisError(
                "The assignment has other layers than the model.",
                value=f"{len(assignment)} layers",
                allowed=f"the {len(self._base)} layers of {self._info.name}",
            )

    def ours(self, assignment: Assignment) -> Assignment:
        """Return the same assignment on the layers of this model object.

        Raises:
            AnalysisError: it belongs to another model.
        """
        self.check(assignment)
        if assignment.layers == self._base.layers:
            return assignment
        return assignment_from(assignment_tree(assignment), self._base)

    # -- names and target --------------------------------------------------------------

    def keep(self, name: str, assignment: Assignment, overwrite: bool) -> None:
        """Keep an assignment under a name.

        Raises:
            AnalysisError: the name is empty, no single line, taken or reserved.
        """
        name = name.strip()
        if len(name.splitlines()) != 1:
            raise AnalysisError(
                "An assignment needs a name.", value=repr(name), allowed="one line"
            )
        if meaning := RESERVED.get(name.casefold()):
            raise AnalysisError(
                f"This name stands for {meaning}.",
                value=name,
                hint="Choose another name.",
            )
        if name in self.kept and not overwrite:
            raise AnalysisError(
                "An assignment of this name exists already.",
                value=name,
                hint="Choose another name, or ask for it to be replaced.",
            )
        self.kept[name] = assignment

    def get(self, name: str) -> Assignment:
        """Return a kept assignment.

        Raises:
            AnalysisError: there is none of this name.
        """
        if name not in self.kept:
            raise AnalysisError(
                "The project has no assignment of this name.",
                value=name,
                allowed=", ".join(self.kept) or "none are kept yet",
            )
        return self.kept[name]

    def set_target(self, name: str) -> None:
        """Choose the deployment target, whose ties then hold.

        Raises:
            QuantError: there is no such target.
        """
        self.target = get_target(name).name
        self._group = self._tie_groups()

    # -- files -------------------------------------------------------------------------

    def documents(self) -> tuple[object, ...]:
        """Return what `tree` is made of; the same objects mean nothing changed."""
        edited = self.target, self.current, self.starred
        return (*edited, *self.kept, *self.kept.values())

    def tree(self) -> Tree:
        """Return everything as arrays."""
        kept = Tree()
        for number, (name, assignment) in enumerate(self.kept.items()):
            tree = assignment_tree(assignment)
            tree.attrs["name"] = name
            kept.groups[str(number)] = tree
        current = assignment_tree(self.current)
        return Tree(
            {"target": self.target},
            {"starred": np.asarray(self.starred)},
            {"current": current, "kept": kept},
        )

    def set_tree(self, tree: Tree) -> None:
        """Take over what `tree` returned.

        Raises:
            AnalysisError: it is damaged.
            QuantError: it names an unknown target.
        """
        self.set_target(tree.text("target"))
        # Files written before there were bookmarks have none.
        if "starred" in tree.items:
            starred = tree.array("starred", "b", (len(self._base),)).copy()
            starred.flags.writeable = False
            self.starred = starred
        self.current = assignment_from(tree.group("current"), self._base)
        kept = tree.group("kept").groups
        self.kept = {
            kept[key].text("name"): assignment_from(kept[key], self._base)
            for key in sorted(kept, key=lambda key: (len(key), key))
        }
