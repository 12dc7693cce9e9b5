"""Listeners hear of a change when it happens, not when somebody looks."""

from __future__ import annotations

import asyncio
import time

from jupyter_ffdl.trainer import service
from trainings import state_directory


def test_an_end_is_told_without_waiting_for_the_next_look(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "TEND_SECONDS", 60.0)

    async def listen(trainings) -> tuple[float, float]:
        told: dict[str, float] = {}
        heard = asyncio.Event()

        def listener(training_id: str, kind: str) -> None:
            entry = trainings.trainer.records.entry(training_id)
            if entry is not None and not entry.live:
                told[training_id] = time.time()
                heard.set()

        trainings.trainer.subscribe(listener)
        watching = asyncio.ensure_future(trainings.trainer.watch())
        try:
            training_id = await asyncio.to_thread(trainings.submit, "print('short')")
            await asyncio.wait_for(heard.wait(), 30)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return told[training_id], trainings.folder(training_id).history()[-1].timestamp / 1000

    with state_directory(tmp_path) as trainings:
        told, ended = asyncio.run(listen(trainings))
    assert told - ended < 5, "far below the next look; usually a few milliseconds"
