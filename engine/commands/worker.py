"""`signing-engine worker`: what holds tokens and database and serves, started by the supervisor."""

import argparse
import gc
import logging
import os
import socket
import sys
from pathlib import Path

from engine.app import SERVE, open_engine, record_stop
from engine.serving import REPLACE_ME
from engine.serving.server import end_with_supervisor, serve
from engine.serving.supervisor import receive_pins


def add_worker(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of the command."""
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--supervisor", type=int, required=True)
    parser.add_argument("--ready", type=int, required=True)
    parser.add_argument("--pins", type=int, required=True)
    parser.add_argument("--replacement", action="store_true")
    parser.set_defaults(command=_worker)


def _worker(options: argparse.Namespace) -> int:
    end_with_supervisor(options.supervisor)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    engine = open_engine(
        options.config, receive_pins(options.pins), tokens_may_be_away=options.replacement, purpose=SERVE
    )
    # What is open now lives as long as the process: the collector need not walk it with every generation.
    gc.collect()
    gc.freeze()
    listener = socket.socket(fileno=options.socket)
    code = serve(engine, listener, options.ready)
    if code == REPLACE_ME:
        record_stop(engine.store, SERVE, "a call on a token does not come back")
        engine.store.close()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    engine.close()
    return code
