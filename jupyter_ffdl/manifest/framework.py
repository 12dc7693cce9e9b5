"""The manifest's ``framework``: what runs, in which image, and its command (FfDL contract §1.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .section import Section

IMAGES: Mapping[str, str] = {
    "tensorflow": "tensorflow/tensorflow:{}",
    "caffe": "bvlc/caffe:{}",
    "caffe2": "caffe2ai/caffe2:{}",
    "pytorch": "pytorch/pytorch:{}",
    "h2o3": "opsh2oai/h2o3-ffdl:{}",
    "horovod": "uber/horovod:{}",
    "pytorchmpi": "tomcli/pytorch:{}",
    "custom": "{}",
}


@dataclass(frozen=True)
class Framework:
    """What runs. ``name`` and ``version`` are as they are written.

    ``literal``: the command is a block after ``|``, so its line breaks may be meant (§1.7).
    """

    name: str
    version: str
    command: str
    literal: bool = False

    @property
    def kind(self) -> str:
        """The name as the table of images has it: names match in any case."""
        return self.name.strip().lower()

    @property
    def image(self) -> str:
        """The image that a cluster pulls (FfDL contract §1.6)."""
        return IMAGES[self.kind].format(self.version)

    @property
    def mpi(self) -> bool:
        """Whether the platform starts the learners by MPI (FfDL contract §5.5)."""
        return self.kind in {"horovod", "pytorchmpi"}


def read(top: Section) -> Framework | None:
    """Return what ``framework`` says, unchecked; None where it is missing."""
    section = top.section("framework")
    if section is None:
        return None
    section.expect(("name", "version", "command", "image_tag"))
    if "image_tag" in section:
        section.warn("image_tag", "image_tag has no effect: the version names the image's tag")
    command = section.scalar("command")
    return Framework(
        name=section.text("name"),
        version=section.text("version"),
        command="" if command is None else command.text,
        literal=command is not None and command.literal,
    )


def check(top: Section, framework: Framework | None) -> Framework:
    """Refuse a framework that cannot run (FfDL contract §1.9, rules 4 to 7)."""
    section = top.section("framework")
    if framework is None or section is None:
        raise top.refuse(
            "framework",
            "Framework is not set",
            hint="Add framework with name, version and command",
        )
    if not framework.name.strip():
        raise section.refuse(
            "name", "Framework name is not set", hint=f"Add one of {', '.join(IMAGES)}"
        )
    if not framework.version.strip():
        raise section.refuse(
            "version",
            "Framework version is not set",
            hint="Add the image's tag, or with custom the image's complete name",
        )
    if framework.kind not in IMAGES:
        raise section.refuse(
            "name",
            f"Framework '{framework.name}' is not supported",
            hint=f"Use one of {', '.join(IMAGES)}; with custom the version names any image",
        )
    return framework


def check_command(top: Section, framework: Framework) -> None:
    """Refuse a framework without a command (FfDL contract §1.9, rule 10)."""
    section = top.section("framework")
    if section is not None and not framework.command.strip():
        raise section.refuse(
            "command", "Training command is not set", hint="Add what runs, such as python3 train.py"
        )
