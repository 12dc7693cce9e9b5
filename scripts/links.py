"""Check that every local link in the project's Markdown leads somewhere.

Links into the web are left alone: a check must give the same answer without a network.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
ANCHOR = re.compile(r"""<a\s+(?:name|id)=["']([^"']+)["']""")
ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def main() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    pages = [
        path for name in listed.decode().split("\0") if name and (path := ROOT / name).exists()
    ]
    broken = [f"{page.relative_to(ROOT)}: {link}" for page in pages for link in broken_links(page)]
    if broken:
        sys.exit("\n".join(["links: these lead nowhere", *broken]))
    print(f"links: {len(pages)} pages checked")


def broken_links(page: Path) -> list[str]:
    """Return the local links of a page whose file or heading does not exist."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    links = [one or other for one, other in LINK.findall(text)]
    return [link for link in links if not ELSEWHERE.match(link) and not _leads(page, link)]


def _leads(page: Path, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    # A leading slash means the root of the project, as code hosts read it.
    target = ROOT / path.lstrip("/") if path.startswith("/") else page.parent / path
    target = target if path else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target.read_text("utf-8"))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page, headings named as code hosts do it."""
    prose = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    found = set(ANCHOR.findall(prose))
    for heading in HEADING.findall(prose):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        copies = sum(1 for known in found if re.fullmatch(rf"{re.escape(name)}(-\d+)?", known))
        found.add(f"{name}-{copies}" if copies else name)
    return found


if __name__ == "__main__":
    main()
