"""A first visit: open Lab, run the quickstart, watch it train, see it done."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from playwright.sync_api import Page, expect

from lab import Lab, open_lab, run_all_cells

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebooks" / "quickstart.ipynb"
SECONDS = 1000


def test_a_first_visit_sees_a_training_live_and_complete(page: Page, lab: Lab) -> None:
    shutil.copy2(NOTEBOOK, lab.work)
    open_lab(page, lab, "quickstart.ipynb")
    run_all_cells(page, wait=False)

    view = page.locator(".jp-OutputArea-output").filter(
        has_text=re.compile("training-[a-z2-7]{12}")
    )
    view = view.first
    # Status, log and curve change while it runs, under a kernel that is busy with other cells.
    expect(view).to_contain_text("Running", timeout=30 * SECONDS)
    expect(view).to_contain_text(re.compile(r"epoch \d+/25 +loss"), timeout=30 * SECONDS)
    curve = view.get_by_role("img", name=re.compile("loss")).first
    expect(curve).to_be_visible(timeout=30 * SECONDS)
    early_curve = curve.get_attribute("src")
    expect(view).to_contain_text(re.compile(r"epoch 1\d/25"), timeout=30 * SECONDS)
    expect(curve).not_to_have_attribute("src", early_curve or "")

    expect(view).to_contain_text("Completed after", timeout=60 * SECONDS)
    expect(view).to_contain_text("epoch 25/25")
    # The last cell waited for the end and found it good.
    expect(page.locator(".jp-OutputArea-output").filter(has_text="COMPLETED").first).to_be_visible(
        timeout=30 * SECONDS
    )
    expect(page.locator(".jp-OutputArea-output[data-mime-type*=stderr]")).to_have_count(0)
