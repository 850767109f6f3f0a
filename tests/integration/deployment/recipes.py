"""The recipes in the README: files and scripts."""

import re

from tests.support.checkout import CHECKOUT

README = (CHECKOUT / "README.md").read_text()


def section(title: str) -> str:
    """Return the text below a heading of the third level."""
    return README.partition(f"\n### {title}\n")[2].partition("\n### ")[0]


def files(text: str) -> dict[str, str]:
    """Return the files of a section by their paths, which are in their first lines."""
    blocks = r"^```(?:ini|nginx|caddy|haproxy|dockerfile)\n# (\S+)\n(.*?)^```$"
    return dict(re.findall(blocks, text, flags=re.MULTILINE | re.DOTALL))


def scripts(text: str, language: str = "bash") -> list[str]:
    """Return the scripts of a section."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
