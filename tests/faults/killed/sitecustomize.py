"""For a worker process that has this folder on its PYTHONPATH: a place to be killed at, at every step of the corridor.

The interpreter runs this before anything else. It wraps functions of the engine and changes nothing of what they do;
only checkpoints are made more often than the engine would, and one that was begun by another process is at once
believed to be left behind.
"""

import os
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from tests.faults.kills import CONTROL, KillControl, Step

_LOOK_SECONDS = 0.05


def _instrument(control: KillControl) -> None:
    import engine.audit.checkpoint
    import engine.audit.keeper
    import engine.audit.witness
    import engine.issuance
    import engine.store.writer
    from engine.api.edge import RequestEdge
    from engine.store import Store

    def before(owner: Any, name: str, step: Step) -> None:
        function = getattr(owner, name)

        def arriving(*arguments: Any, **options: Any) -> Any:
            control.arrive(step)
            return function(*arguments, **options)

        setattr(owner, name, arriving)

    def after(owner: Any, name: str, step: Step, wanted: Callable[[Any], bool] = lambda answer: True) -> None:
        function = getattr(owner, name)

        def arriving(*arguments: Any, **options: Any) -> Any:
            answer = function(*arguments, **options)
            if wanted(answer):
                control.arrive(step)
            return answer

        setattr(owner, name, arriving)

    after(engine.issuance, "load_request", Step.READ)
    after(engine.issuance, "check_lint", Step.LINTED)
    before(engine.issuance, "assemble_certificate", Step.SIGNATURE_RETURNED)
    after(engine.issuance, "check_certificate", Step.VERIFIED)
    before(engine.issuance, "assemble_request", Step.REQUEST_SIGNED)
    before(Store, "add_key", Step.KEY_MADE)
    _at_transactions(engine.store.writer, control)
    _at_answers(RequestEdge, control)

    engine.audit.keeper._LOOK_SECONDS = _LOOK_SECONDS
    engine.audit.checkpoint._OTHERS_SECONDS = 0.0
    after(Store, "begin_checkpoint", Step.CHECKPOINT_COMMITTED, lambda begun: begun is not None)
    after(engine.audit.checkpoint, "_sign", Step.CHECKPOINT_SIGNED)
    append = engine.audit.witness._append

    def torn(descriptor: int, line: bytes) -> None:
        if control.is_due(Step.CHECKPOINT_TORN):
            append(descriptor, line[: len(line) // 2])
            control.kill()
        append(descriptor, line)
        control.arrive(Step.CHECKPOINT_WITNESSED)

    engine.audit.witness._append = torn


def _at_transactions(writer: Any, control: KillControl) -> None:
    """What a transaction is about is told by the method of the store that each write comes from."""
    written = {
        "record_intent": Step.INTENT_WRITTEN,
        "record_certificate": Step.RECORD_WRITTEN,
        "begin_checkpoint": Step.CHECKPOINT_WRITTEN,
        "complete_checkpoint": Step.CHECKPOINT_COMPLETING,
        "add_key": Step.KEY_REGISTERING,
        "_close_without_result": Step.FAILURE_WRITTEN,
        "close_dangling_intents": Step.RECONCILING,
        "close_proofs": Step.PROVEN,
    }
    committed = {
        "record_intent": Step.INTENT_COMMITTED,
        "record_certificate": Step.RECORD_COMMITTED,
        "record_signed": Step.REQUEST_RECORDED,
        "record_proofs": Step.PROVING,
    }
    transact, confirm = writer.GroupWriter._transact, writer._confirm
    methods: set[str] = set()  # of the batch; there is one thread that writes

    def _transact(self: Any, batch: Any, *, apart: bool) -> None:
        methods.clear()
        methods.update(*(item._work.__qualname__.split(".") for item in batch))
        transact(self, batch, apart=apart)

    def _confirm(transaction: Any) -> None:
        for method in methods & written.keys():
            control.arrive(written[method])
        confirm(transaction)
        for method in methods & committed.keys():
            control.arrive(committed[method])

    writer.GroupWriter._transact, writer._confirm = _transact, _confirm


def _at_answers(edge: Any, control: KillControl) -> None:
    call = edge.__call__

    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> None:
        async def arriving(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200 and scope["method"] == "POST":
                control.arrive(Step.ANSWERING)
            await send(message)

        await call(self, scope, receive, arriving)

    edge.__call__ = __call__


if CONTROL in os.environ and "worker" in sys.orig_argv:
    _instrument(KillControl(Path(os.environ[CONTROL])))
