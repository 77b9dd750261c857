"""Help in groups: `rich_help_panel` names an option's group, as it does for rich, which would load slowly."""

from typing import TYPE_CHECKING

from typer import core

if TYPE_CHECKING:
    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter


class GroupedCommand(core.TyperCommand):
    """A command whose help has a section for each group of options, in the order in which they are declared."""

    def format_options(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Arguments first; options without a group last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            is_argument = isinstance(parameter, core.TyperArgument)
            group = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or "Other options"
            if (record := parameter.get_help_record(ctx)) is not None:
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)
