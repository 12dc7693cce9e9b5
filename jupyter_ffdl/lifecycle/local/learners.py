"""The learners of one attempt: started or adopted, watched, stopped, cleaned up after."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_ffdl import files
from jupyter_ffdl.folder import now_ms
from jupyter_ffdl.learner import command as commands
from jupyter_ffdl.learner import environment, header, hookfile, phases
from jupyter_ffdl.learner.places import directories

from . import addresses, gpus, memory, mounts, processes, runner, stacks
from .children import monotonic
from .containment import Containment
from .identity import Process, boot_id
from .ownership import TakenOver

if TYPE_CHECKING:
    from .supervisor import Supervisor

MEMORY_SECONDS = 0.25
"""How often memory is looked at where a limit was given: an allocation of 4 GiB/s gains 1 GiB."""

LOOK_SECONDS = 5.0
"""Ends tell of themselves; this is for those that did not."""

KILL_SECONDS = 10.0
"""After KILL a process may still be in the kernel; one that is there longer is left and noted."""

LEFTOVER_GRACE_SECONDS = 2.0
"""What the command left in the background gets TERM and this long, then KILL."""


class Learners:
    """All learners of one attempt of one training."""

    def __init__(self, supervisor: Supervisor, attempt: int) -> None:
        self.supervisor = supervisor
        self.folder = supervisor.folder
        self.spec = supervisor.spec
        self.children = supervisor.children
        self.attempt = attempt
        self.numbers = range(1, int(self.spec["learners"]) + 1)
        self.exits: dict[int, int] = {}
        """Exit codes of the learners that ended, in the order of their ends."""
        self.lost: tuple[int, str] | None = None
        self.over_memory: tuple[int, str] | None = None
        self._runners: dict[int, Process] = {}
        self._inherited: dict[int, int] = {}
        self._meters: dict[int, memory.Meter] = {}
        self._next_memory = 0.0
        self._leases: list[gpus.Lease] = []
        self.facts = files.read_json(self._facts_path) or {}

    @property
    def _facts_path(self) -> Path:
        return self.folder.attempt(self.attempt) / "attempt.json"

    def directory(self, learner: int) -> Path:
        """Return what is written about one learner."""
        return self.folder.learner(self.attempt, learner)

    # Starting

    def start_or_adopt(self) -> None:
        """Bring every learner that has not ended under watch; start those that never began."""
        self._decide_facts()
        for learner in self.numbers:
            directory = self.directory(learner)
            directory.mkdir(parents=True, exist_ok=True)
            known = Process.from_json(files.read_json(directory / "runner.json"))
            if (directory / "exit.json").exists():
                continue
            if known is not None and known.alive():
                self._adopt(learner, known)
            elif known is not None and (directory / "command.json").exists():
                self._lose(learner, known)
            else:
                self._start(learner)
            self._remember_memory(learner)
        self.look()

    def _remember_memory(self, learner: int) -> None:
        """Take note of a limit that an earlier supervisor found exceeded, just before it died."""
        found = files.read_json(self.directory(learner) / "memory.json")
        if found is not None and self.over_memory is None:
            self.over_memory = (learner, f"used {found['used']} of {found['limit']} bytes")

    def _decide_facts(self) -> None:
        """Choose what all learners of the attempt share, once, on disk before anything starts."""
        if not self.facts:
            count = len(self.numbers)
            learner_uuid = str(uuid.uuid4())
            self.facts = {
                "uuid": learner_uuid,
                "addresses": addresses.for_learners(learner_uuid, count),
                "master_port": addresses.free_port() if count > 1 else None,
                "began": monotonic(),
                "boot_id": boot_id(),
                "began_ms": now_ms(),
            }
            files.write_json(self._facts_path, self.facts)
            phases.link_logs(self.folder, self.attempt, self.spec)
            hookfile.place(self.folder.hook)

    def _start(self, learner: int) -> None:
        directory = self.directory(learner)
        for name in ("pids", "exceptions", "stacks"):
            (directory / name).mkdir(mode=0o700, exist_ok=True)
        lease = self._lease()
        if lease is None:
            return
        self._leases.append(lease)
        command = self._command(learner, lease)
        supervisor = os.getpid()
        pid = self.children.fork(lambda: runner.run(command, supervisor))
        # The runner holds the GPUs from here on, for as long as the learner lives.
        lease.close()
        self._runners[learner] = Process.of(pid)

    def _lease(self) -> gpus.Lease | None:
        """Lease the learner's GPUs; None where it was halted while it waited for them.

        Another state directory's training may have taken one between counting and starting.
        """
        count, told = int(self.spec["gpus"]), ""
        while (lease := gpus.lease(count, self.supervisor.settings)) is None:
            shortage = gpus.shortage(count, self.supervisor.settings)
            if shortage != told:
                self.folder.note("waits", f"Waits for a GPU: {shortage}")
                told = shortage
            self.supervisor.pause(1.0)
            if self.supervisor.halting:
                return None
        return lease

    def _command(self, learner: int, lease: gpus.Lease) -> runner.Command:
        spec, folder = self.spec, self.folder
        directory = self.directory(learner)
        containment = Containment.create(f"ffdl-{self.facts['uuid']}-{learner}")
        if containment is not None:
            files.write_json(directory / "cgroup.json", containment.to_json())
        places = phases.places(folder, spec)
        env = environment.user_environment(
            spec,
            base=files.read_json(folder.environment) or {},
            job_dir=places.job,
            model_dir=places.model,
            log_dir=places.logs,
            data_dirs=places.data,
            result_dir=places.results,
            result_bucket_dir=places.results_bucket,
            checkpoint_dir=places.checkpoints,
            learner=learner,
            addresses=self.facts["addresses"],
            master_port=self.facts["master_port"],
            learner_uuid=self.facts["uuid"],
            gpu_uuids=lease.uuids,
            hook_dir=str(folder.hook),
            learner_dir=str(directory),
            secrets=files.read_json(folder.secrets) or {},
        )
        before: list[Callable[[], object]] = []
        if containment is not None:
            before.append(lambda: containment.join(os.getpid()))
        if places.mounts is not None:
            inside = places.mounts
            before.append(lambda: mounts.enter(inside, self.facts, self._staging(learner)))
        shown = not spec["notebook"]
        return runner.Command(
            learner_dir=directory,
            job_exit=folder.job / f"learner-{learner}.exit",
            log=folder.log(self.attempt, learner),
            argv=commands.bash_arguments(spec, env),
            env=env,
            cwd=Path(places.model),
            header=(lambda: self._header(env)) if shown else None,
            footer=self._footer if shown else None,
            before_exec=tuple(before),
            umask=self.supervisor.umask,
            keep=frozenset(lease.fds),
        )

    def _staging(self, learner: int) -> Path:
        """An empty directory where the learner's new root is mounted, seen by itself alone."""
        path = self.directory(learner) / "root"
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def _header(self, env: Mapping[str, str]) -> bytes:
        real = directories(self.folder, self.spec)
        return header.header(
            self.spec, env, self.folder.model_code, real.data[0], secrets=self.spec["secrets"]
        )

    def _footer(self, exit_code: int) -> bytes:
        return header.footer(exit_code, halted=(self.folder.job / "halt").exists())

    def _adopt(self, learner: int, known: Process) -> None:
        self._runners[learner] = known
        descriptor = known.open_pidfd()
        if descriptor is not None:
            self.children.adopt(known.pid, descriptor)

    # Watching

    def look(self) -> None:
        """Take note of what ended since the last look, and of memory."""
        for learner in self.numbers:
            if learner not in self.exits:
                self._look_at(learner)
        self._look_at_memory()

    def _look_at(self, learner: int) -> None:
        directory = self.directory(learner)
        ended = files.read_json(directory / "exit.json")
        if ended is None:
            process = self._runners.get(learner)
            if process is None or (process.pid not in self.children.exits and process.alive()):
                return
            ended = files.read_json(directory / "exit.json") or self._inherit(learner, process)
        if ended is not None:
            self.exits[learner] = int(ended["exit_code"])
            self._forget(learner)
            ordered = sorted(self.exits, key=self._ended_at)
            self.exits = {n: self.exits[n] for n in ordered}

    def _ended_at(self, learner: int) -> int:
        return int((files.read_json(self.directory(learner) / "exit.json") or {}).get("ended", 0))

    def _inherit(self, learner: int, process: Process) -> dict[str, Any] | None:
        """The learner's parent died without an exit file: its command may be our child now."""
        directory = self.directory(learner)
        command = Process.from_json(files.read_json(directory / "command.json"))
        if command is not None:
            if command.pid in self.children.exits:
                code = self.children.exits.pop(command.pid)
                if not self.spec["notebook"]:
                    text = self._footer(code if code >= 0 else 128 - code)
                    runner.append_to_log(self.folder.log(self.attempt, learner), text)
                runner.write_exit(directory, self.folder.job / f"learner-{learner}.exit", code)
                return files.read_json(directory / "exit.json")  # type: ignore[no-any-return]
            if _is_child(command.pid):
                if learner not in self._inherited:
                    self._inherited[learner] = command.pid
                    self.folder.note(
                        "inherited", f"The parent of learner {learner} was killed; it goes on"
                    )
                return None
        self._lose(learner, process)
        return None

    def _lose(self, learner: int, process: Process) -> None:
        if self.lost is None:
            stopped = process.boot_id != boot_id()
            reason = (
                "Lost: the machine was stopped"
                if stopped
                else f"Lost: learner {learner} vanished without an exit code"
            )
            self.lost = (learner, reason)
            self.folder.note("lost", reason, learner=learner)

    def _forget(self, learner: int) -> None:
        process = self._runners.pop(learner, None)
        if process is not None:
            self.children.forget(process.pid)
            self.children.exits.pop(process.pid, None)

    def _look_at_memory(self) -> None:
        limit = self.spec["memory_bytes"]
        if not limit or self.over_memory or monotonic() < self._next_memory:
            return
        self._next_memory = monotonic() + MEMORY_SECONDS
        for learner in list(self._runners):
            meter = self._meter(learner)
            used, peak = meter.used_bytes(limit), meter.peak_bytes
            if used > limit:
                with contextlib.suppress(OSError):
                    files.write_json(
                        self.directory(learner) / "memory.json", {"used": used, "limit": limit}
                    )
                self.over_memory = (learner, f"used {peak} of {limit} bytes")
                self._signal_all(signal.SIGKILL)
                return

    def _meter(self, learner: int) -> memory.Meter:
        if learner not in self._meters:
            roots = self._roots(learner)
            meter = memory.Meter(self._containment(learner), roots)
            if not roots:
                return meter  # the command has not begun; its own meter comes with it
            self._meters[learner] = meter
        return self._meters[learner]

    def seconds_to_next_look(self) -> float:
        """How long nothing needs to be looked at that tells us nothing by itself."""
        seconds = LOOK_SECONDS
        if self.spec["memory_bytes"]:
            seconds = MEMORY_SECONDS
        elif self._unwatched():
            seconds = 0.5
        return max(0.0, min(seconds, self.seconds_left()))

    def _unwatched(self) -> bool:
        """Whether an adopted learner could not be watched by a pidfd (not Linux)."""
        return not hasattr(os, "pidfd_open")

    def seconds_left(self) -> float:
        """Return the seconds of ``max_runtime`` that are left, counted over sleep and restarts."""
        limit = self.spec["max_runtime"]
        if not limit:
            return float("inf")
        if self.facts.get("boot_id") == boot_id():
            return float(limit - (monotonic() - self.facts["began"]))
        return float(limit - (now_ms() - self.facts["began_ms"]) / 1000)

    # The collector

    def start_collector(self) -> int:
        """Fork the process that indexes lines and extracts metrics; it dies with us.

        TERM, which means "read to the end", is blocked until the collector is ready to take it:
        a short training ends before that.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return self.children.fork(self._collect, die_with_us=True)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _collect(self) -> int:
        from jupyter_ffdl.learner.collector import Collector  # noqa: PLC0415

        def check() -> bool:
            # Frozen together with its supervisor, it may wake up when another collects.
            if not self.supervisor.ownership.still_mine():
                raise TakenOver
            return False

        return Collector(self.folder.root, self.attempt, self.spec).run(stop=check)

    def keep_collector(self, collector: int) -> int:
        """Start the collector again where it died."""
        if collector not in self.children.exits:
            return collector
        code = self.children.exits.pop(collector)
        self.folder.note("collector", f"The collector ended with {code} and was started again")
        self.supervisor.pause(0.5)
        return self.start_collector()

    def finish_collector(self, collector: int) -> None:
        """Let the collector read everything to its end; start it again if it dies on the way."""
        for _ in range(5):
            with contextlib.suppress(ProcessLookupError):
                if collector not in self.children.exits:
                    os.kill(collector, signal.SIGTERM)
            while collector not in self.children.exits:
                self.supervisor.pause(1.0)
            if self.children.exits.pop(collector) == 0:
                return
            collector = self.start_collector()

    # Stopping

    def stop_all(self, grace: float) -> None:
        """End everything the learners started: TERM, ``grace`` seconds, KILL; remove cgroups.

        Where all commands ended by themselves, what they left in the background gets less grace.
        """
        if len(self.exits) == len(self.numbers):
            grace = min(grace, LEFTOVER_GRACE_SECONDS)
        if grace > 0 and (deadline := self._terminate(grace)):
            while self._everything() and monotonic() < deadline:
                self.supervisor.pause(0.05)
        left = processes.kill_until_gone(self._everything, seconds=KILL_SECONDS)
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            self.folder.note("leftover", f"Not to be killed, stuck in the kernel: {pids}")
        self._await_exit_files()
        for learner in self.numbers:
            containment = self._containment(learner)
            if containment is not None:
                containment.remove()

    def _terminate(self, grace: float) -> float:
        """Send TERM to everything and return until when to wait; 0 where there is nothing.

        Once per attempt: many programs take a second TERM for impatience, and an earlier
        supervisor may have sent the first just before it was killed.
        """
        path = self.folder.attempt(self.attempt) / "term.json"
        sent = files.read_json(path)
        if sent is not None and sent["boot_id"] == boot_id():
            return float(sent["at"]) + grace
        if not self._signal_all(signal.SIGTERM):
            return 0.0
        with contextlib.suppress(OSError):
            files.write_json(path, {"at": monotonic(), "boot_id": boot_id()})
        return monotonic() + grace

    def _await_exit_files(self) -> None:
        """The learners' parents write the exit files; give them a moment to."""
        deadline = monotonic() + 5.0
        while self._runners and monotonic() < deadline:
            self.look()
            if self.lost is not None or not self._runners:
                return
            self.supervisor.pause(0.05)

    def _everything(self) -> list[Process]:
        """Return every process that a learner of this training started and that lives."""
        found: dict[int, Process] = {}
        cgroups = [c for n in self.numbers if (c := self._containment(n)) is not None]
        roots = [process for n in self.numbers for process in self._roots(n)]
        # Orphans become children of the learner's parent, whatever they did to hide.
        roots += self._runners.values()
        for process in processes.started_by(self.folder.training_id, roots, cgroups):
            found[process.pid] = process
        for pid in (p.pid for p in self._runners.values()):
            found.pop(pid, None)
        return list(found.values())

    def _signal_all(self, number: int) -> bool:
        """Send a signal to everything; say whether there was anything."""
        return processes.signal_all(self._everything(), number) > 0

    def _roots(self, learner: int) -> list[Process]:
        known = Process.from_json(files.read_json(self.directory(learner) / "command.json"))
        return [known] if known is not None else []

    def _containment(self, learner: int) -> Containment | None:
        return Containment.from_json(files.read_json(self.directory(learner) / "cgroup.json"))

    def remove_leftovers(self) -> None:
        """Before the end is told: nothing of the training may run on, no cgroup may stay."""
        if self.facts:
            self.stop_all(grace=0)

    def show_stacks(self) -> None:
        """Have every learner's interpreters write what their threads do now."""
        for learner in self.numbers:
            stacks.ask(self.directory(learner))


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, ProcessLookupError):
        return False
    return True
