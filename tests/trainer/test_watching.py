"""Listeners hear of a change when it happens, not when somebody looks."""

from __future__ import annotations

import asyncio
import time

from jupyter_ffdl.trainer import service
from trainings import state_directory


def test_an_end_is_told_without_waiting_for_the_next_look(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "TEND_SECONDS", 60.0)

    async def listen(trainings) -> tuple[float, float]:
        told: list[float] = []
        ended = asyncio.Event()
        training_id = ""

        def listener(changed: str, kind: str) -> None:
            lines = trainings.folder(training_id).history()
            if changed == training_id and lines[-1].status.terminal:
                told.append(time.time())
                ended.set()

        watching = asyncio.ensure_future(trainings.trainer.watch())
        await asyncio.sleep(0)
        training_id = await asyncio.to_thread(trainings.submit, "print('short')")
        trainings.trainer.subscribe(listener)
        await asyncio.wait_for(ended.wait(), 30)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return told[0], trainings.folder(training_id).history()[-1].timestamp / 1000

    with state_directory(tmp_path) as trainings:
        told, ended = asyncio.run(listen(trainings))
    assert told - ended < 5, "far below the next look; usually a few milliseconds"
