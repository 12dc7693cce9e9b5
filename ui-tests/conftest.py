"""Fixtures of the browser tests: a real server, a real Chromium, an empty profile for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

import chromium as chromium_finder
from lab import ARGUMENTS, Lab

HERE = Path(__file__).parent
# What tests leave for whoever looks at a failure: a picture and the server's log.
OUTPUT = HERE / "output"
FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # This hook sees the items of every folder. A browser, a server and a kernel share the
    # machine's cores already.
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.alone)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium_finder.find()
    assert path, "no Chromium here: `make test` installs one"
    chromium_finder.lend_node_to_playwright()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def start_lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Lab]]:
    """Start a JupyterLab with options of the test's own."""
    labs: list[Lab] = []

    def start(*options: str, environment: dict[str, str] | None = None) -> Lab:
        lab = Lab(tmp_path / f"lab{len(labs)}", *options, environment=environment)
        labs.append(lab)
        lab.start()
        return lab

    yield start
    for lab in labs:
        lab.stop()
        if request.node.stash.get(FAILED, False):
            print(f"--- {lab.log}\n{lab.log.read_text(errors='replace')[-5000:]}")


@pytest.fixture
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """A JupyterLab as it is after installing us, nothing configured."""
    return start_lab()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a fresh browser profile; an error in its console that names us fails the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-US")
    context.set_default_timeout(30_000)
    page = context.new_page()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # The browser notes every answer >= 400 by itself; tests may ask for those.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            errors.append(f"{message.text} ({message.location.get('url')})")

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    if request.node.stash.get(FAILED, False):
        OUTPUT.mkdir(exist_ok=True)
        page.screenshot(path=OUTPUT / f"{request.node.name}.png")
    context.close()
    ours = [error for error in errors if "ffdl" in error.lower()]
    assert not ours, ours
