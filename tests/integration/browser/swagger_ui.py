"""Swagger UI as a person uses it: what the page shows, and what happens when its buttons are pressed."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page

_PATIENCE = 20_000  # milliseconds
_BREAK = "\N{ZERO WIDTH SPACE}"  # where the page lets a path break
_LINE = [f".opblock-summary-{part}" for part in ("method", "path", "description")]


class Shown(NamedTuple):
    """An answer as the page shows it."""

    status: int
    document: Any


class SwaggerUI:
    """The page in a browser, all that the browser asked for, and all that it complained of."""

    def __init__(self, page: "Page", origin: str) -> None:
        self.page = page
        self.origin = origin
        self.token: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(_PATIENCE)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self) -> None:
        """Load the page, wait until it shows the contract, and give it the token, if there is one."""
        self.page.goto(f"{self.origin}/ui/")
        self.page.locator(".opblock").first.wait_for()
        if self.token:
            self._authorize(self.token)

    def operations(self) -> dict[str, list[tuple[str, ...]]]:
        """Read the method, path and summary of each operation, under the name of its tag."""
        self.open()
        tags = self.page.locator(".opblock-tag-section").all()
        return {
            tag.locator("h3 .nostyle").inner_text(): [_line(each) for each in tag.locator(".opblock-summary").all()]
            for tag in tags
        }

    def examples(self, operation: str) -> list[Shown]:
        """Read the answers that an operation may give, by their examples."""
        answers = self._opened(operation).locator(".responses-table > tbody > tr.response")
        return [_shown(answer) for answer in answers.all()]

    def choices(self, operation: str, parameter: str) -> list[str]:
        """Read what there is to choose for a parameter."""
        return self._tried(operation).locator(f'tr[data-param-name="{parameter}"] option').all_inner_texts()

    def try_out(self, operation: str, values: Mapping[str, str] | None = None, body: Any = None) -> Shown:
        """Execute an operation with what is filled in, but for some parameters and perhaps the body."""
        panel = self._tried(operation)
        for name, value in (values or {}).items():
            panel.locator(f'tr[data-param-name="{name}"] input').fill(value)
        if body is not None:
            panel.locator("textarea").fill(json.dumps(body))
        panel.get_by_role("button", name="Execute").click()
        answer = panel.locator(".live-responses-table > tbody > tr.response")
        answer.wait_for()
        return _shown(answer)

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

    def _tried(self, operation: str) -> "Locator":
        panel = self._opened(operation)
        panel.get_by_role("button", name="Try it out").click()
        return panel

    def _hear(self, message: "ConsoleMessage") -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.text} {message.location['url']}")


def _line(summary: "Locator") -> tuple[str, ...]:
    return tuple(summary.locator(part).inner_text().replace(_BREAK, "") for part in _LINE)


def _shown(answer: "Locator") -> Shown:
    code = answer.locator(".highlight-code code")
    document = json.loads(code.inner_text()) if code.count() else None
    return Shown(int(answer.locator(".response-col_status").first.inner_text()), document)
