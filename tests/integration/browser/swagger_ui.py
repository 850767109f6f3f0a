"""A page object for Swagger UI: reads what the page shows, and uses its forms and buttons."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page

_TIMEOUT = 20_000  # milliseconds
_BREAK = "\N{ZERO WIDTH SPACE}"  # Swagger UI inserts it into paths, for line breaks
_LINE = [f".opblock-summary-{part}" for part in ("method", "path", "description")]


class Shown(NamedTuple):
    """A response that the page shows."""

    status: int
    document: Any


class SwaggerUI:
    """The page, the URLs that it requested, and the errors and warnings in its console."""

    def __init__(self, page: "Page", origin: str, catalog: Path) -> None:
        self.page = page
        self.origin = origin
        self.catalog = catalog
        self.token: str | None = None
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(_TIMEOUT)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self) -> None:
        """Load the page, wait for the operations, and enter the token if there is one."""
        self.page.goto(f"{self.origin}/ui/")
        self.page.locator(".opblock").first.wait_for()
        if self.token:
            self._authorize(self.token)

    def operations(self) -> dict[str, list[tuple[str, ...]]]:
        """Return method, path and summary of each operation, by tag."""
        self.open()
        tags = self.page.locator(".opblock-tag-section").all()
        return {
            tag.locator("h3 .nostyle").inner_text(): [_line(each) for each in tag.locator(".opblock-summary").all()]
            for tag in tags
        }

    def examples(self, operation: str) -> list[Shown]:
        """Return the documented responses of an operation with their examples."""
        responses = self._opened(operation).locator(".responses-table > tbody > tr.response")
        return [_read_response(response) for response in responses.all()]

    def choices(self, operation: str, parameter: str) -> list[str]:
        """Return the options of a parameter's selection list."""
        return self._trying(operation).locator(f'tr[data-param-name="{parameter}"] option').all_inner_texts()

    def try_out(self, operation: str, values: Mapping[str, str] | None = None, body: Any = None) -> Shown:
        """Execute an operation with the default inputs, except for these values and this body."""
        panel = self._trying(operation)
        for name, value in (values or {}).items():
            panel.locator(f'tr[data-param-name="{name}"] input').fill(value)
        if body is not None:
            panel.locator("textarea").fill(json.dumps(body))
        panel.get_by_role("button", name="Execute").click()
        response = panel.locator(".live-responses-table > tbody > tr.response")
        response.wait_for()
        return _read_response(response)

    def _authorize(self, token: str) -> None:
        self.page.locator(".scheme-container").get_by_role("button", name="Authorize").click()
        dialog = self.page.locator(".dialog-ux")
        dialog.locator("input").fill(token)
        dialog.get_by_role("button", name="Apply credentials").click()
        dialog.get_by_role("button", name="Close").click()

    def _opened(self, operation: str) -> "Locator":
        self.open()
        panel = self.page.locator(f".opblock[id$='-{operation}']")
        panel.locator(".opblock-summary-control").click()
        panel.locator(".responses-table").wait_for()
        return panel

    def _trying(self, operation: str) -> "Locator":
        panel = self._opened(operation)
        panel.get_by_role("button", name="Try it out").click()
        return panel

    def _on_console(self, message: "ConsoleMessage") -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(f"{message.text} {message.location['url']}")


def _line(summary: "Locator") -> tuple[str, ...]:
    return tuple(summary.locator(part).inner_text().replace(_BREAK, "") for part in _LINE)


def _read_response(response: "Locator") -> Shown:
    code = response.locator(".highlight-code code")
    document = json.loads(code.inner_text()) if code.count() else None
    return Shown(int(response.locator(".response-col_status").first.inner_text()), document)
