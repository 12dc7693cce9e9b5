"""What an exception means here and what to do about it: one table, the first match counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .observation import Failure, Observation
from .sizes import ask_for_more
from .verdict import Remedy

DISTRIBUTIONS = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "git": "GitPython",
    "google.protobuf": "protobuf",
    "hydra": "hydra-core",
    "mpl_toolkits": "matplotlib",
    "PIL": "pillow",
    "pl_bolts": "lightning-bolts",
    "pytorch_lightning": "pytorch-lightning",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "yaml": "PyYAML",
}
"""Packages whose name to install is not the one to import."""


@dataclass(frozen=True)
class Meaning:
    """What an exception means: ``title`` replaces its type in the sentence, if given."""

    cause: str
    title: str = ""
    message: str | None = None
    remedy: Remedy | None = None


Explain = Callable[[Failure, "re.Match[str] | None", Observation], Meaning]


@dataclass(frozen=True)
class Rule:
    """``types``: the type's last part, or the qualified name; empty: any."""

    types: frozenset[str]
    pattern: re.Pattern[str] | None
    explain: Explain


def meaning(failure: Failure, seen: Observation) -> Meaning:
    """Return what ``failure`` means; without a rule just ``exception``."""
    for rule in RULES:
        if rule.types and not rule.types.intersection((failure.type, failure.short_type)):
            continue
        match = rule.pattern.search(failure.message) if rule.pattern else None
        if rule.pattern and match is None:
            continue
        return rule.explain(failure, match, seen)
    return Meaning("exception")


# The meanings, in the order of the table below


def _fixed(cause: str, advice: str = "", **given: Any) -> Explain:
    option, value = given.pop("option", ""), given.pop("value", "")
    remedy = Remedy(advice, option, value) if advice else None
    return lambda *_: Meaning(cause, remedy=remedy, **given)


def _gpu_memory(failure: Failure, _: re.Match[str] | None, __: Observation) -> Meaning:
    wanted = re.search(
        r"[Tt]ried to allocate ([\d.]+ ?[KMGT]i?B)|shape\s?(\[[\d,]+\])", failure.message
    )
    message = None
    if wanted:
        message = f"tried to allocate {wanted[1]}" if wanted[1] else f"no room for {wanted[2]}"
    return Meaning(
        "gpu_out_of_memory",
        "GPU out of memory",
        message or failure.message,
        Remedy("Take a smaller batch, or a GPU with more memory (--gpu-type)"),
    )


def _memory(failure: Failure, _: re.Match[str] | None, seen: Observation) -> Meaning:
    remedy = ask_for_more(seen.memory_limit_bytes) or Remedy(
        "Load less at once, or take a machine with more memory"
    )
    return Meaning("memory_error", "Out of memory", failure.message, remedy)


def _missing_module(failure: Failure, match: re.Match[str] | None, seen: Observation) -> Meaning:
    name = str(failure.details.get("name") or (match[1] if match else ""))
    root = name.partition(".")[0]
    for path in (f"{root}.py", root):
        if root and seen.beside(path):
            return Meaning(
                "missing_module",
                remedy=Remedy(f"Ship it with --with {path}", "--with", path),
            )
    package = DISTRIBUTIONS.get(name) or DISTRIBUTIONS.get(root) or root
    where = f"%pip install {package}" if seen.notebook else f"pip install {package}"
    remedy = Remedy(f"Install it where the training's Python looks: {where}")
    return Meaning("missing_module", remedy=remedy if package else None)


def _missing_file(failure: Failure, match: re.Match[str] | None, seen: Observation) -> Meaning:
    path = str(failure.details.get("filename") or (match[1] if match else ""))
    if path and seen.beside(path):
        shown = str(PurePosixPath(path))
        return Meaning(
            "missing_file",
            remedy=Remedy(
                f"{shown} lies beside the notebook: ship it with --with {shown}", "--with", shown
            ),
        )
    return Meaning(
        "missing_file",
        remedy=Remedy("Ship the file with --with, or name its folder with --data and read DATA_DIR")
        if path
        else None,
    )


def _undefined_name(failure: Failure, match: re.Match[str] | None, seen: Observation) -> Meaning:
    name = str(failure.details.get("name") or (match[1] if match else ""))
    if not seen.notebook:
        return Meaning("undefined_name", remedy=Remedy(f"Define {name} before this line"))
    return Meaning(
        "undefined_name",
        remedy=Remedy(f"Define {name} in the code that is shipped: other cells stay behind"),
    )


def _shapes(failure: Failure, _: re.Match[str] | None, __: Observation) -> Meaning:
    shaped = [
        f"{each['name']} is ({', '.join(map(str, each['shape']))}{',' * (len(each['shape']) == 1)})"
        for each in failure.shapes
        if each.get("shape") is not None
    ]
    return Meaning(
        "shape_mismatch",
        remedy=Remedy(
            "Compare the shapes on that line" + (": " + ", ".join(shaped) if shaped else "")
        ),
    )


def _no_stdin(_: Failure, __: re.Match[str] | None, ___: Observation) -> Meaning:
    return Meaning(
        "no_stdin",
        message="input() has nobody to ask: a training has no stdin",
        remedy=Remedy("Give the value with --param NAME=VALUE", "--param"),
    )


def _denied(failure: Failure, match: re.Match[str] | None, _: Observation) -> Meaning:
    path = str(failure.details.get("filename") or (match[1] if match else "")) or "that path"
    return Meaning(
        "permission_denied",
        remedy=Remedy(f"Write results to RESULT_DIR, or allow this user to use {path}"),
    )


def _shared_library(_: Failure, match: re.Match[str] | None, __: Observation) -> Meaning:
    library = match[1] if match else "a library"
    return Meaning(
        "missing_library",
        remedy=Remedy(f"{library} is missing where the training runs: install it there"),
    )


def _syntax(failure: Failure, _: re.Match[str] | None, __: Observation) -> Meaning:
    text = failure.frames[-1].text if failure.frames else ""
    if text.startswith(("!", "%", "?")):
        return Meaning(
            "syntax_error", remedy=Remedy("Only IPython understands this line: leave it out")
        )
    return Meaning("syntax_error")


def _assertion(failure: Failure, _: re.Match[str] | None, seen: Observation) -> Meaning:
    from .places import failing_frame  # noqa: PLC0415

    frame = failing_frame(failure, seen)
    if failure.message or frame is None:
        return Meaning("assertion")
    return Meaning("assertion", message=frame.text)


def _rule(types: str, pattern: str, explain: Explain) -> Rule:
    return Rule(
        frozenset(types.split()),
        re.compile(pattern, re.DOTALL) if pattern else None,
        explain,
    )


_ENV_GPU = "Ask for a GPU with --gpus 1"
_CONNECTION = (
    "ConnectionError ConnectionRefusedError ConnectionResetError ConnectionAbortedError "
    "BrokenPipeError URLError MaxRetryError NewConnectionError NameResolutionError ConnectTimeout "
    "ConnectTimeoutError ConnectError ReadTimeout ReadTimeoutError gaierror TimeoutError timeout "
    "EndpointConnectionError ProxyError SSLError LocalEntryNotFoundError "
    "ClientConnectorError OfflineModeIsEnabled"
)

RULES: tuple[Rule, ...] = (
    # A GPU's memory has many names: torch, torch before 1.13, TensorFlow, JAX, CuPy.
    _rule("torch.cuda.OutOfMemoryError torch.OutOfMemoryError", "", _gpu_memory),
    _rule("cupy.cuda.memory.OutOfMemoryError ResourceExhaustedError", "", _gpu_memory),
    _rule(
        "RuntimeError XlaRuntimeError JaxRuntimeError InternalError",
        r"(CUDA|HIP|MPS|cuda|cuDNN).{0,60}out of memory|RESOURCE_EXHAUSTED|"
        r"CUDA_ERROR_OUT_OF_MEMORY",
        _gpu_memory,
    ),
    _rule(
        "RuntimeError",
        r"DataLoader worker .* killed by signal: Bus error|unable to mmap|"
        r"[Uu]nable to (?:open|write to|resize).*shared memory",
        _fixed(
            "shared_memory",
            "Shared memory ran out: take DataLoader(num_workers=0) or fewer workers",
        ),
    ),
    _rule("RuntimeError", r"DataLoader worker .* killed by signal: Killed", _memory),
    _rule("MemoryError _ArrayMemoryError ArrayMemoryError bad_alloc", "", _memory),
    _rule("RuntimeError", r"std::bad_alloc|DefaultCPUAllocator: (?:can't|not enough)", _memory),
    _rule(
        "RuntimeError AcceleratorError CudaError",
        r"device-side assert",
        _fixed(
            "gpu_assert",
            "Often a label or index out of range; --env CUDA_LAUNCH_BLOCKING=1 names the true line",
            option="--env",
            value="CUDA_LAUNCH_BLOCKING=1",
        ),
    ),
    _rule(
        "",
        r"Found no NVIDIA driver|No CUDA GPUs are available|not compiled with CUDA enabled|"
        r"torch\.cuda\.is_available\(\) is False|no CUDA-capable device|CUDA_ERROR_NO_DEVICE",
        _fixed("no_gpu", _ENV_GPU, option="--gpus", value="1"),
    ),
    _rule(
        "RuntimeError",
        r"[Ee]xpected all tensors to be on the same device",
        _fixed("device_mismatch", "Move model and batch to one device with .to(device)"),
    ),
    # Files, disks, rights
    _rule(
        "",
        r"\[Errno 28\]|No space left on device|disk is full|ENOSPC",
        _fixed("disk_full", "Free some room, or write less", title="Disk full", message=""),
    ),
    _rule(
        "",
        r"\[Errno 122\]|Disk quota exceeded",
        _fixed(
            "disk_full",
            "Free some room within the quota",
            title="Disk quota used up",
            message="",
        ),
    ),
    _rule(
        "",
        r"\[Errno 24\]|Too many open files",
        _fixed("too_many_files", "Close files after use, or take fewer DataLoader workers"),
    ),
    _rule("ModuleNotFoundError", r"No module named '?([\w.]+)'?", _missing_module),
    _rule("ModuleNotFoundError", "", _missing_module),
    _rule(
        "ImportError OSError",
        r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object",
        _shared_library,
    ),
    _rule("ImportError", r"(GLIBC\w*_[\d.]+|CXXABI_[\d.]+)' not found", _shared_library),
    _rule(
        "FileNotFoundError",
        r"No such file or directory: '([^']*)'|^([^\s:]+) not found",
        _missing_file,
    ),
    _rule("FileNotFoundError", "", _missing_file),
    _rule("PermissionError", r"'([^']*)'$", _denied),
    _rule("PermissionError", "", _denied),
    _rule("OSError", r"Read-only file system: '([^']*)'|Read-only file system", _denied),
    _rule(
        "OSError RuntimeError DistNetworkError",
        r"\[Errno 98\]|[Aa]ddress already in use",
        _fixed("address_in_use", "Use MASTER_PORT, or port 0 for any free one"),
    ),
    # Words and shapes
    _rule("NameError UnboundLocalError", r"name '([^']*)' is not defined", _undefined_name),
    _rule("SyntaxError IndentationError TabError", "", _syntax),
    _rule(
        "ValueError RuntimeError InvalidArgumentError TypeError",
        r"shapes? .*(?:not aligned|mismatch|cannot be multiplied|must match|incompatible|"
        r"different)|"
        r"(?:could not be|cannot be) broadcast|size mismatch|mismatch in its core dimension|"
        r"must match the size of tensor|[Ii]ncompatible (?:shapes|dimensions)|"
        r"shape .* is invalid for input|cannot reshape array|inconsistent numbers? of samples|"
        r"[Dd]imensions must be equal|all the input array dimensions|inhomogeneous shape|"
        r"expected input.* to have|is incompatible with the layer",
        _shapes,
    ),
    _rule("AssertionError", "", _assertion),
    _rule(
        "ValueError FloatingPointError RuntimeError InvalidArgumentError",
        r"(?i)\b(?:nan|infinity|inf)\b",
        _fixed("nan", "Look for NaN in the data, lower the learning rate or clip the gradients"),
    ),
    # The world outside
    _rule("EOFError", r"EOF when reading a line", _no_stdin),
    _rule("StdinNotImplementedError", "", _no_stdin),
    _rule("KeyboardInterrupt", "", _fixed("interrupted", title="Interrupted from outside")),
    _rule(
        "RuntimeError",
        r"NCCL (?:error|communicator)|Gloo|c10d|Socket Timeout",
        _fixed("communication", "Another learner ended or hangs: look at the logs of all learners"),
    ),
    _rule(
        _CONNECTION,
        "",
        _fixed("network", "The training could not reach that host: is there a network or a proxy?"),
    ),
    _rule(
        "OSError",
        r"[Ww]e couldn't connect to|Temporary failure in name resolution|"
        r"Connection (?:refused|reset)",
        _fixed("network", "The training could not reach that host: is there a network or a proxy?"),
    ),
    _rule(
        "HTTPError",
        r"40[13]|Unauthorized|Forbidden",
        _fixed("access_denied", "Pass a token with --secret NAME", option="--secret"),
    ),
    _rule("RecursionError", "", _fixed("recursion", "A function calls itself without end")),
)
