"""The command that checks the catalog."""

import click

from app.catalog.check import check_catalog
from app.catalog.engines import open_catalog
from app.settings import Settings
from app.text import escape_control_characters


@click.command()
@click.pass_obj
def check(settings: Settings) -> None:
    """Check the catalog, without changing it.

    The command reads the whole catalog: the structure of the database and the version of its schema, each image, the
    index of the lists, and who can access the files or the tables. Each line names a problem and what to do about it.
    The exit code is 1 if there are errors, and 0 if there are only warnings.
    """
    engine = open_catalog(settings.catalog)
    findings = list(check_catalog(engine))
    for problem, advice, is_warning in findings:
        label = "Warning" if is_warning else "Error"
        click.echo(escape_control_characters(f"{label}: {problem}. What to do: {advice}."))
    if not findings:
        click.echo(f"{engine.name} has no problems.")
    if not all(each.is_warning for each in findings):
        raise click.exceptions.Exit(1)
