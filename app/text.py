"""Quoting and escaping of text in messages, and the normalization of project ids."""

_MAX_QUOTE_LENGTH = 100


def quote(value: str) -> str:
    """Quote a client's text for a message of one line: escaped, and truncated if it is long."""
    return repr(value if len(value) <= _MAX_QUOTE_LENGTH else value[:_MAX_QUOTE_LENGTH] + "…")


def escape_control_characters(text: str) -> str:
    """Escape characters that would break a line or control a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def normalize_project_id(project_id: str) -> str:
    """Return a project id in the form in which ids are stored and compared: lower case, no dashes."""
    return project_id.lower().replace("-", "")
