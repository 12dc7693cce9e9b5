from __future__ import annotations

from playwright.sync_api import Page, expect

import jupyter_ffdl
from lab import Lab, open_lab, run_from_palette


def test_the_version_command_shows_that_both_parts_fit(page: Page, lab: Lab) -> None:
    open_lab(page, lab)
    run_from_palette(page, "Show FfDL Version")

    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"FfDL for JupyterLab {jupyter_ffdl.__version__}")
    expect(dialog).to_contain_text("Both parts fit.")

    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def test_without_the_server_part_the_command_says_how_to_enable_it(page: Page, start_lab) -> None:
    lab = start_lab("--ServerApp.jpserver_extensions", "jupyter_ffdl=False")
    open_lab(page, lab)
    run_from_palette(page, "Show FfDL Version")

    dialog = page.get_by_role("dialog")
    expect(dialog.locator("pre")).to_contain_text("jupyter server extension enable jupyter_ffdl")


def test_the_help_menu_offers_the_version_command(page: Page, lab: Lab) -> None:
    open_lab(page, lab)
    page.get_by_role("menuitem", name="Help").click()
    expect(page.locator("[data-command='ffdl:show-version']")).to_be_visible()
