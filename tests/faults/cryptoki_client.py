"""A small PKCS#11 caller in a process of its own, driven line by line: SoftHSM is one per process, and may be killed.

Each line on standard input is a JSON list ``[method, arguments...]`` of ``Client``; each line on standard output is
``{"value": …}`` or ``{"function": "C_…", "answer": CKR}``. Octets travel as hex.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_ubyte, c_ulong, c_void_p

UNAVAILABLE = c_ulong(-1).value
CKA = {"class": 0x0, "label": 0x3, "id": 0x102, "ec_params": 0x180, "ec_point": 0x181}
PUBLIC_KEY, PRIVATE_KEY = 2, 3
CKM_EC_KEY_PAIR_GEN, CKM_ECDSA = 0x1040, 0x1041
SERIAL_SESSION, RW_SESSION = 4, 2
SECP256R1 = bytes.fromhex("06082a8648ce3d030107")
YES, NO = b"\x01", b"\x00"
PIN = b"1234"


class Attribute(Structure):
    _fields_ = (("type", c_ulong), ("value", c_char_p), ("length", c_ulong))


class Mechanism(Structure):
    _fields_ = (("mechanism", c_ulong), ("parameter", c_void_p), ("length", c_ulong))


class InitializeArguments(Structure):
    _fields_ = (("callbacks", c_void_p * 4), ("flags", c_ulong), ("reserved", c_void_p))


class SessionInfo(Structure):
    _fields_ = (("slot", c_ulong), ("state", c_ulong), ("flags", c_ulong), ("error", c_ulong))


class SlotInfo(Structure):
    _fields_ = (("texts", c_char * 96), ("flags", c_ulong), ("versions", c_ubyte * 4))


class TokenInfo(Structure):
    _fields_ = (
        ("label", c_char * 32),
        ("texts", c_char * 64),
        ("flags", c_ulong),
        ("max_sessions", c_ulong),
        ("numbers", c_ulong * 9),
        ("versions_and_time", c_ubyte * 20),
    )


class Refused(Exception):
    def __init__(self, function: str, answer: int) -> None:
        super().__init__(f"{function} answered {answer:#x}")
        self.function, self.answer = function, answer


def template(attributes: Sequence[tuple[int, bytes]]) -> ctypes.Array[Attribute]:
    """The attributes as a CK_ATTRIBUTE array, which keeps the octets it points at."""
    return (Attribute * len(attributes))(*(Attribute(kind, value, len(value)) for kind, value in attributes))


class Client:
    def __init__(self, module: str) -> None:
        self.library = ctypes.CDLL(module)
        self.outcome: list[str] = []

    def _ask(self, function: str, *arguments: object) -> None:
        answer = self._answer(function, *arguments)
        if answer:
            raise Refused(function, answer)

    def _answer(self, function: str, *arguments: object) -> int:
        entry = getattr(self.library, function)
        entry.restype = c_ulong
        return entry(*(c_ulong(each) if isinstance(each, int) else each for each in arguments))

    def initialize(self, os_locking: bool = True) -> None:
        self._ask("C_Initialize", byref(InitializeArguments(flags=2)) if os_locking else None)

    def finalize(self) -> None:
        self._ask("C_Finalize", None)

    def function_answers(self) -> list[int]:
        """Every function of the list, called with nothing but zeros, in the order of the list."""
        functions = POINTER(c_void_p)()
        self._ask("C_GetFunctionList", byref(functions))
        call = ctypes.CFUNCTYPE(c_ulong, *(c_ulong,) * 8)
        return [call(functions[1 + place])(*(0,) * 8) for place in range(68)]

    def slots(self, token_present: bool = True) -> list[int]:
        found, count = (c_ulong * 16)(), c_ulong(16)
        self._ask("C_GetSlotList", c_ubyte(token_present), found, byref(count))
        return list(found[: count.value])

    def slot_flags(self, slot: int) -> int:
        info = SlotInfo()
        self._ask("C_GetSlotInfo", slot, byref(info))
        return info.flags

    def token_info(self, slot: int) -> dict[str, object]:
        info = TokenInfo()
        self._ask("C_GetTokenInfo", slot, byref(info))
        return {"label": info.label.decode().rstrip(), "flags": info.flags, "max_sessions": info.max_sessions}

    def make_token(self, label: str) -> None:
        slot = self.slots()[0]
        self._ask("C_InitToken", slot, PIN, len(PIN), label.ljust(32).encode())
        slot = next(each for each in self.slots() if self.token_info(each)["label"] == label)
        session = self.open_session(slot)
        self._ask("C_Login", session, 0, PIN, len(PIN))
        self._ask("C_InitPIN", session, PIN, len(PIN))
        self.close_session(session)

    def open_session(self, slot: int) -> int:
        session = c_ulong()
        self._ask("C_OpenSession", slot, SERIAL_SESSION | RW_SESSION, None, None, byref(session))
        return session.value

    def close_session(self, session: int) -> None:
        self._ask("C_CloseSession", session)

    def close_all_sessions(self, slot: int) -> None:
        self._ask("C_CloseAllSessions", slot)

    def session_info(self, session: int) -> dict[str, int]:
        info = SessionInfo()
        self._ask("C_GetSessionInfo", session, byref(info))
        return {"slot": info.slot, "state": info.state}

    def login(self, session: int) -> None:
        self._ask("C_Login", session, 1, PIN, len(PIN))

    def generate(self, session: int, label: str) -> None:
        named = ((CKA["label"], label.encode()), (0x1, YES))
        public = template([*named, (CKA["ec_params"], SECP256R1), (0x10A, YES)])
        private = template([*named, (0x2, YES), (0x103, YES), (0x162, NO), (0x108, YES)])
        keys = c_ulong(), c_ulong()
        templates = public, len(public), private, len(private)
        mechanism = Mechanism(CKM_EC_KEY_PAIR_GEN)
        self._ask("C_GenerateKeyPair", session, byref(mechanism), *templates, byref(keys[0]), byref(keys[1]))

    def find(self, session: int, object_class: int, label: str) -> list[int]:
        wanted = template([(CKA["class"], bytes(c_ulong(object_class))), (CKA["label"], label.encode())])
        self._ask("C_FindObjectsInit", session, wanted, len(wanted))
        found, count = (c_ulong * 16)(), c_ulong()
        self._ask("C_FindObjects", session, found, 16, byref(count))
        self._ask("C_FindObjectsFinal", session)
        return list(found[: count.value])

    def attributes(self, session: int, key: int, names: list[str], rooms: list[int | None]) -> dict[str, object]:
        """The answer, and each attribute's length and value, read into so much room (None: only the length)."""
        buffers = [None if room is None else ctypes.create_string_buffer(room) for room in rooms]
        asked = (Attribute * len(names))()
        for place, name, buffer in zip(asked, names, buffers, strict=True):
            place.type = CKA[name]
            if buffer is not None:
                place.value, place.length = ctypes.addressof(buffer), len(buffer)
        answer = self._answer("C_GetAttributeValue", session, key, asked, len(asked))
        lengths = [-1 if place.length == UNAVAILABLE else place.length for place in asked]
        values = [
            None if buffer is None or length < 0 else buffer.raw[:length].hex()
            for buffer, length in zip(buffers, lengths, strict=True)
        ]
        return {"answer": answer, "lengths": lengths, "values": values}

    def sign(self, session: int, key: int, digest: str) -> str:
        """As python-pkcs11 signs: initialise, ask for the length, sign."""
        data = bytes.fromhex(digest)
        mechanism, length = Mechanism(CKM_ECDSA), c_ulong()
        self._ask("C_SignInit", session, byref(mechanism), key)
        self._ask("C_Sign", session, data, len(data), None, byref(length))
        signature = ctypes.create_string_buffer(length.value)
        self._ask("C_Sign", session, data, len(data), signature, byref(length))
        return signature.raw[: length.value].hex()

    def sign_at_once(self, sessions: list[int], key: int, digest: str, rounds: int = 1) -> list[str]:
        """One thread a session; what each had last."""
        done = [""] * len(sessions)

        def work(place: int, session: int) -> None:
            for _ in range(rounds):
                try:
                    done[place] = self.sign(session, key, digest)
                except Refused as refused:
                    done[place] = str(refused)

        threads = [threading.Thread(target=work, args=each) for each in enumerate(sessions)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return done

    def begin_signing(self, session: int, key: int, digest: str) -> None:
        """Sign in a thread, so that the next line can come meanwhile."""
        self.background = threading.Thread(
            target=lambda: self.outcome.extend(self.sign_at_once([session], key, digest)), daemon=True
        )
        self.background.start()

    def end_signing(self) -> str:
        self.background.join()
        return self.outcome.pop()


def main() -> None:
    client = Client(os.environ["FAULTY_SO"])
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            reply = {"value": getattr(client, method)(*arguments)}
        except Refused as refused:
            reply = {"function": refused.function, "answer": refused.answer}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
