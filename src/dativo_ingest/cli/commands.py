"""Commands whose help ends with examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTEXT: dict[str, Any] = {
    # Every command reads DATIVO_<FLAG>, not DATIVO_<COMMAND>_<FLAG>: a flag means the same wherever it stands.
    "auto_envvar_prefix": "DATIVO",
    "help_option_names": ["-h", "--help"],
}


class _WithExamples(click.Command):
    """Writes its examples after its options, each on a line of its own."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs["context_settings"] = {**CONTEXT, **kwargs.get("context_settings", {})}
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section of examples."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Command(_WithExamples):
    """A command; its ``examples`` stand at the end of its help."""


class Group(_WithExamples, click.Group):
    """A group of commands; its ``examples`` stand at the end of its help."""
