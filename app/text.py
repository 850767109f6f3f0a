"""Text: quoting for messages, and the canonical form of project ids."""

_MAX_QUOTE_LENGTH = 100


def quote(value: str) -> str:
    """Quote what came so that it fits into one line: escaped, and cut where it is long."""
    return repr(value if len(value) <= _MAX_QUOTE_LENGTH else value[:_MAX_QUOTE_LENGTH] + "…")


def escape_control_characters(text: str) -> str:
    """Escape what would break a line, or tell a terminal to do something."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def normalize_project_id(tenant: str) -> str:
    """Give a tenant's id in the one form in which ids are kept and compared: lower case, no dashes."""
    return tenant.lower().replace("-", "")
