"""What a check of a dataset has found: :class:`Report`, a list of :class:`Finding`."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

# The number of examples that a finding keeps.
MAX_EXAMPLES = 24


@dataclass(frozen=True)
class Example:
    """Where a finding is seen: in an image, or on one person in it.

    Attributes:
        file: path of the image.
        annotation: id of the person's annotation; None for the whole image.
        keypoints: indices of the keypoints that are meant.
        beside: path of a second image that this one is compared with.
        text: what is special about this one.
    """

    file: str
    annotation: int | str | None = None
    keypoints: tuple[int, ...] = ()
    beside: str | None = None
    text: str = ""


@dataclass(frozen=True)
class Finding:
    """A mistake of a dataset.

    Attributes:
        severity: "error" for what training would fail on or learn from, "warning" for a probable mistake.
        message: one sentence.
        rule: how it was found, where that needs a word.
        examples: where it is seen, the clearest first; at most :data:`MAX_EXAMPLES`.
    """

    severity: Literal["warning", "error"]
    message: str
    rule: str = ""
    examples: tuple[Example, ...] = ()


@dataclass
class Report:
    """What is true of a dataset, and the findings about it.

    Attributes:
        facts: its numbers of images, persons and keypoints, one sentence each.
        findings: mistakes, in the order in which they were found.
    """

    facts: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """The messages of probable mistakes."""
        return [finding.message for finding in self.findings if finding.severity == "warning"]

    @property
    def errors(self) -> list[str]:
        """The messages of mistakes that training would fail on or learn from."""
        return [finding.message for finding in self.findings if finding.severity == "error"]

    def warn(self, message: str, *, rule: str = "", examples: Iterable[Example] = ()) -> None:
        """Adds a probable mistake."""
        self._add("warning", message, rule, examples)

    def fail(self, message: str, *, rule: str = "", examples: Iterable[Example] = ()) -> None:
        """Adds a mistake that training would fail on or learn from."""
        self._add("error", message, rule, examples)

    def _add(
        self, severity: Literal["warning", "error"], message: str, rule: str, examples: Iterable[Example]
    ) -> None:
        self.findings.append(
            Finding(severity, message, rule, tuple(itertools.islice(examples, MAX_EXAMPLES)))
        )
