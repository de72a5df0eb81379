"""The one exception of the package and the paragraph it prints."""

from __future__ import annotations


class QuantError(ValueError):
    """Bad input, told in four parts: what, which value, what is allowed, what to do.

    The command line prints the four parts as one paragraph, or as a JSON object; the
    window shows them in a dialog. Inner functions raise the bare fact; callers that
    know more (layer, file) add it with `within`.

    Args:
        what: One sentence, ending in a full stop.
        value: The offending value, as the user wrote it.
        allowed: What would be accepted.
        hint: What to do now, one sentence.
    """

    def __init__(
        self,
        what: str,
        *,
        value: object = None,
        allowed: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.value = None if value is None else str(value)
        self.allowed = allowed
        self.hint = hint

    def within(self, context: str) -> QuantError:
        """Return the same error with `context` ("layers.3.mlp") said first."""
        return type(self)(
            f"{context}: {self.what}",
            value=self.value,
            allowed=self.allowed,
            hint=self.hint,
        )

    def as_dict(self) -> dict[str, str | None]:
        """Return the four parts under the keys of the command line's JSON."""
        return {
            "what": self.what,
            "value": self.value,
            "allowed": self.allowed,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        parts = [self.what]
        if self.value is not None:
            # An empty text must be seen as what was given.
            parts.append(f"Given: {self.value or repr(self.value)}.")
        if self.allowed is not None:
            parts.append(f"Allowed: {self.allowed}.")
        if self.hint is not None:
            parts.append(self.hint)
        return " ".join(parts)
