"""A PKCS#11 module that misbehaves on demand, driven from Python while another process uses it.

``build_module(folder)`` compiles it; ``FaultyModule(module, control)`` makes the control file and steers it. Start the
process under test with ``FaultyModule.environment`` and the compiled module as its PKCS#11 module. Settings take effect
at the next call; counters outlive the process, also one that was killed.
"""

from __future__ import annotations

import mmap
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path

SOURCES = Path(__file__).parent / "module"
HEADERS = Path("/usr/include/p11-kit-1")
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
PACKAGES = "gcc libc6-dev libp11-kit-dev"

FOREVER = 2**64 - 1
ANY = "any function"

# CK_FUNCTION_LIST 2.40, in its order: the place is the function's number.
_NAMES = """
    Initialize Finalize GetInfo GetFunctionList GetSlotList GetSlotInfo GetTokenInfo GetMechanismList
    GetMechanismInfo InitToken InitPIN SetPIN OpenSession CloseSession CloseAllSessions GetSessionInfo
    GetOperationState SetOperationState Login Logout CreateObject CopyObject DestroyObject GetObjectSize
    GetAttributeValue SetAttributeValue FindObjectsInit FindObjects FindObjectsFinal EncryptInit Encrypt
    EncryptUpdate EncryptFinal DecryptInit Decrypt DecryptUpdate DecryptFinal DigestInit Digest DigestUpdate
    DigestKey DigestFinal SignInit Sign SignUpdate SignFinal SignRecoverInit SignRecover VerifyInit Verify
    VerifyUpdate VerifyFinal VerifyRecoverInit VerifyRecover DigestEncryptUpdate DecryptDigestUpdate
    SignEncryptUpdate DecryptVerifyUpdate GenerateKey GenerateKeyPair WrapKey UnwrapKey DeriveKey SeedRandom
    GenerateRandom GetFunctionStatus CancelFunction WaitForSlotEvent
"""
FUNCTIONS = tuple(f"C_{name}" for name in _NAMES.split())

# The words of struct control in module/control.h, in its order.
_MAGIC = 0x31594C5455414631
_SETTINGS = (
    "magic",
    "size",
    "sign_latency_ms",
    "hang_remaining",
    "hang_release",
    "hang_after",
    "session_cap",
    "corrupt_remaining",
    "slot_offset",
    "dead_session_answer",
    "token_absent",
    "epoch",
    "raw_ec_point",
    "refuse_os_locking",
    "token_flags",
    "logout_remaining",
    "logout_at",
    "logout_answer",
    "watched_octets",
    "kill_at",
    "kill_after",
    "kill_group",
)
_RULE = ("function", "answer", "every", "after", "remaining", "seen", "fired", "reserved")
_RULES = 16
_COUNTERS = (
    "sign_calls",
    "signatures",
    "max_open_sessions",
    "max_calls_in_flight",
    "max_signs_in_flight",
    "session_overlaps",
    "finalized_in_flight",
    "watched_signs",
)
_PROCESS = ("pid", "open_sessions", "calls_in_flight", "signs_in_flight", "signs_hanging", "r1", "r2", "r3")
_PROCESSES = 64
_RULES_AT = len(_SETTINGS)
_CALLS_AT = _RULES_AT + _RULES * len(_RULE)
_COUNTERS_AT = _CALLS_AT + len(FUNCTIONS)
_PROCESSES_AT = _COUNTERS_AT + len(_COUNTERS)
_WORDS = _PROCESSES_AT + _PROCESSES * len(_PROCESS)


class Ckr(IntEnum):
    """The PKCS#11 return codes that tests ask for or expect."""

    OK = 0x00
    SLOT_ID_INVALID = 0x03
    GENERAL_ERROR = 0x05
    FUNCTION_FAILED = 0x06
    CANT_LOCK = 0x0A
    DEVICE_ERROR = 0x30
    DEVICE_MEMORY = 0x31
    DEVICE_REMOVED = 0x32
    KEY_HANDLE_INVALID = 0x60
    KEY_FUNCTION_NOT_PERMITTED = 0x68
    OBJECT_HANDLE_INVALID = 0x82
    OPERATION_ACTIVE = 0x90
    OPERATION_NOT_INITIALIZED = 0x91
    PIN_INCORRECT = 0xA0
    PIN_EXPIRED = 0xA3
    PIN_LOCKED = 0xA4
    SESSION_CLOSED = 0xB0
    SESSION_COUNT = 0xB1
    SESSION_HANDLE_INVALID = 0xB3
    TOKEN_NOT_PRESENT = 0xE0
    USER_ALREADY_LOGGED_IN = 0x100
    USER_NOT_LOGGED_IN = 0x101
    BUFFER_TOO_SMALL = 0x150
    CRYPTOKI_NOT_INITIALIZED = 0x190
    CRYPTOKI_ALREADY_INITIALIZED = 0x191
    VENDOR_DEFINED = 0x80000000


class TokenFlags(IntFlag):
    """Bits of CK_TOKEN_INFO.flags that warn about the user PIN."""

    NONE = 0
    USER_PIN_COUNT_LOW = 1 << 16
    USER_PIN_FINAL_TRY = 1 << 17
    USER_PIN_LOCKED = 1 << 18


class FaultyModuleUnavailable(RuntimeError):
    """The module cannot be compiled or has nothing to forward to on this machine."""


def build_module(folder: Path) -> Path:
    """Compile the module into ``folder`` unless a newer one is there; FaultyModuleUnavailable without a compiler."""
    module = folder / "faulty.so"
    sources = tuple(sorted(SOURCES.iterdir()))
    if module.exists() and module.stat().st_mtime >= max(source.stat().st_mtime for source in sources):
        return module
    compiler = shutil.which("gcc")
    missing = [str(path) for path in (HEADERS / "p11-kit/pkcs11.h", Path("/usr/include/dlfcn.h")) if not path.exists()]
    if compiler is None:
        missing.insert(0, "gcc")
    if compiler is None or missing:
        raise FaultyModuleUnavailable(
            f"the fault-injecting module needs {', '.join(missing)}: apt-get install {PACKAGES}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fresh = Path(scratch) / module.name
        flags = ("-std=gnu11", "-O2", "-g", "-fPIC", "-shared", "-pthread", "-Wl,-Bsymbolic")
        warnings = ("-Wall", "-Wextra", "-Werror")
        command = [compiler, *flags, *warnings, f"-I{HEADERS}", "-o", str(fresh), str(SOURCES / "faulty.c"), "-ldl"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            raise FaultyModuleUnavailable(f"gcc refused the fault-injecting module:\n{run.stderr}")
        fresh.replace(module)
    return module


@dataclass(frozen=True, slots=True)
class Counters:
    """What the module saw, over all processes since the control file was made or ``reset_counters``.

    The five ``…_in_flight``/``open``/``hanging`` gauges are of now and of live processes; the ``max_…_in_flight`` are
    the largest that any one process had.
    """

    sign_calls: int
    signatures: int
    open_sessions: int
    max_open_sessions: int
    calls_in_flight: int
    max_calls_in_flight: int
    signs_in_flight: int
    max_signs_in_flight: int
    signs_hanging: int
    session_overlaps: int
    finalized_in_flight: int
    watched_signs: int
    logins: int


class Rule:
    """One standing order to fail, as given by ``FaultyModule.fail``."""

    def __init__(self, words: memoryview, at: int) -> None:
        self._words, self._at = words, at

    @property
    def fired(self) -> int:
        """How many calls got the wrong answer."""
        return int(self._words[self._at + _RULE.index("fired")])

    @property
    def used_up(self) -> bool:
        """No fault is left to give."""
        return not self._words[self._at + _RULE.index("remaining")]

    def clear(self) -> None:
        """End this rule; what it did stays readable until 15 further rules were made."""
        self._words[self._at + _RULE.index("remaining")] = 0


class FaultyModule:
    """Makes the control file ``control`` and steers every process that loads ``module`` with ``environment``."""

    def __init__(self, module: Path, control: Path, *, real: Path = SOFTHSM, asked: Path | None = None) -> None:
        """``asked`` is a file to be told what every C_Sign is given."""
        if not real.exists():
            raise FaultyModuleUnavailable(f"the real module {real} is not there: apt-get install softhsm2")
        self.module, self.control, self.real = module, control, real
        self._asked = asked
        with control.open("x+b") as file:
            file.truncate(_WORDS * 8)
            self._map = mmap.mmap(file.fileno(), _WORDS * 8)
        # Words written through a cast memoryview are written whole, which struct.pack_into("<Q") does not promise.
        self._words = memoryview(self._map).cast("Q")
        self._next_rule = 0
        self._set(size=_WORDS * 8)
        self.clear()
        self._set(magic=_MAGIC)

    def __enter__(self) -> FaultyModule:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Clear every fault, so that nothing stays hanging, and let the file go."""
        self.clear()
        self._words.release()
        self._map.close()

    @property
    def environment(self) -> dict[str, str]:
        """What the process under test needs in its environment before it loads the module."""
        environment = {"ENGINE_FAULTY_MODULE": str(self.real), "ENGINE_FAULTY_CONTROL": str(self.control)}
        return environment if self._asked is None else {**environment, "ENGINE_FAULTY_ASKED": str(self._asked)}

    # -- faults ------------------------------------------------------------------------------------------------------

    def fail(
        self, function: str, answer: int, *, every: int = 1, times: int | None = None, after: bool = False
    ) -> Rule:
        """Let every ``every``-th call of ``function`` (or ``ANY``) answer ``answer``, ``times`` times or until cleared.

        ``after`` lets the token do its work first, so that only its answer is lost. C_Sign calls that only ask for
        the length are not counted and not failed.
        """
        for _ in range(_RULES):
            at = _RULES_AT + self._next_rule * len(_RULE)
            self._next_rule = (self._next_rule + 1) % _RULES  # in turn: an ended rule stays readable for long
            rule = Rule(self._words, at)
            if rule.used_up:
                number = FOREVER if function == ANY else FUNCTIONS.index(function)
                order = {"function": number, "answer": answer, "every": every, "after": after, "seen": 0, "fired": 0}
                for name, value in order.items():
                    self._words[at + _RULE.index(name)] = int(value)
                self._words[at + _RULE.index("remaining")] = _times(times)  # last: this turns the rule on
                return rule
        raise ValueError(f"expected at most {_RULES} rules at a time, one more came")

    def clear_failures(self) -> None:
        """End every rule that ``fail`` made."""
        for place in range(_RULES):
            Rule(self._words, _RULES_AT + place * len(_RULE)).clear()

    def sign_latency(self, milliseconds: int) -> None:
        """Let every C_Sign take so much longer; calls in other sessions go on meanwhile."""
        self._set(sign_latency_ms=milliseconds)

    def hang_signing(self, *, times: int | None = None, after: bool = False) -> None:
        """Let the next ``times`` C_Sign calls (or all) block until ``release_signing``.

        They block before the token signs or, with ``after``, with the signature made but not handed over.
        """
        self._set(hang_after=after, hang_remaining=_times(times))

    def release_signing(self) -> None:
        """Let hanging C_Sign calls go on, and no further one hang."""
        self._set(hang_remaining=0)
        self._set(hang_release=self._get("hang_release") + 1)

    def watch_signing(self, octets: int) -> None:
        """Count as `watched_signs` the C_Sign calls with so many octets of data, which tells the size of the digest."""
        self._set(watched_octets=octets)

    def kill_signing(self, arrival: int, *, after: bool = False, group: bool = False) -> None:
        """Let SIGKILL end the process of the `arrival`-th watched C_Sign from now, before the token signs or, with
        ``after``, with the signature made; with ``group`` the whole process group."""
        self._set(kill_after=after, kill_group=group, kill_at=self.counters().watched_signs + arrival)

    @property
    def is_to_kill(self) -> bool:
        """Whether that is still to come."""
        return self._get("kill_at") != 0

    def limit_sessions(self, most: int | None) -> None:
        """Refuse C_OpenSession with CKR_SESSION_COUNT while ``most`` are open over all live processes."""
        self._set(session_cap=FOREVER if most is None else most)

    def corrupt_signatures(self, *, times: int | None = None) -> None:
        """Flip the last bit of the next ``times`` signatures, or of all; 0 ends it."""
        self._set(corrupt_remaining=_times(times))

    def move_slots(self, offset: int, *, answer: int = Ckr.SESSION_HANDLE_INVALID) -> None:
        """Present every slot id ``offset`` higher than the real one, as a token put into another reader.

        Old ids answer CKR_SLOT_ID_INVALID, old sessions ``answer``; the login is lost.
        """
        self._set(dead_session_answer=answer, slot_offset=offset)
        self._set(epoch=self._get("epoch") + 1)

    def remove_token(self) -> None:
        """Pull the token: CKR_TOKEN_NOT_PRESENT from its slot, CKR_DEVICE_REMOVED from its sessions, the login lost."""
        self._set(token_absent=1)
        self._set(epoch=self._get("epoch") + 1)

    def insert_token(self, *, answer: int = Ckr.SESSION_HANDLE_INVALID) -> None:
        """Put the token back; sessions from before stay dead and answer ``answer``."""
        self._set(dead_session_answer=answer)
        self._set(token_absent=0)

    def raw_ec_points(self, raw: bool = True) -> None:
        """Answer CKA_EC_POINT without its OCTET STRING wrapper."""
        self._set(raw_ec_point=raw)

    def refuse_locking(self, refuse: bool = True) -> None:
        """Answer CKR_CANT_LOCK to a C_Initialize that asks for CKF_OS_LOCKING_OK."""
        self._set(refuse_os_locking=refuse)

    def token_flags(self, flags: TokenFlags) -> None:
        """Set these flags in CK_TOKEN_INFO besides the real ones."""
        self._set(token_flags=flags)

    def force_logout(self, *, at: str = ANY, answer: int | None = Ckr.USER_NOT_LOGGED_IN, times: int = 1) -> None:
        """Log the real token out at the next call of ``at``, which answers ``answer``.

        With ``answer=None`` that call goes on to the logged-out token and answers what that one says. C_Login,
        C_Logout and C_CloseSession do not set it off.
        """
        self._set(logout_at=FOREVER if at == ANY else FUNCTIONS.index(at), logout_answer=answer or 0)
        self._set(logout_remaining=times)

    def clear(self) -> None:
        """End every fault and release what hangs; sessions lost to a removal or a move stay lost."""
        self.clear_failures()
        self._set(logout_remaining=0, corrupt_remaining=0, sign_latency_ms=0, session_cap=FOREVER, token_flags=0)
        self._set(raw_ec_point=0, refuse_os_locking=0, token_absent=0, kill_at=0)
        if self._get("slot_offset"):
            self.move_slots(0)
        self._set(dead_session_answer=Ckr.SESSION_HANDLE_INVALID)
        self.release_signing()
        self._set(hang_after=0)

    # -- counters ----------------------------------------------------------------------------------------------------

    def calls(self, function: str) -> int:
        """How often ``function`` was called, over all processes."""
        return int(self._words[_CALLS_AT + FUNCTIONS.index(function)])

    def asked(self) -> list[str]:
        """What every C_Sign so far was given, in hex and in order; for ECDSA that is the hash of what is signed."""
        return self._asked.read_text().split() if self._asked and self._asked.exists() else []

    def counters(self) -> Counters:
        """All counters but the calls of each function."""
        totals = {name: int(self._words[_COUNTERS_AT + place]) for place, name in enumerate(_COUNTERS)}
        gauges = dict.fromkeys(_PROCESS[1:5], 0)
        for place in range(_PROCESSES):
            at = _PROCESSES_AT + place * len(_PROCESS)
            pid = self._words[at]
            if pid and _alive(pid):
                for name in gauges:
                    gauges[name] += self._words[at + _PROCESS.index(name)]
        return Counters(**totals, **gauges, logins=self.calls("C_Login"))

    def reset_counters(self) -> None:
        """Start counting from nothing; only while no process is in a call. Open sessions stay counted."""
        for at in range(_CALLS_AT, _PROCESSES_AT):
            self._words[at] = 0
        self._words[_COUNTERS_AT + _COUNTERS.index("max_open_sessions")] = self.counters().open_sessions

    def wait_for(self, condition: Callable[[Counters], bool], seconds: float = 10.0) -> Counters:
        """The counters as soon as ``condition`` holds for them; TimeoutError with the last ones after ``seconds``."""
        end = time.monotonic() + seconds
        while not condition(counters := self.counters()):
            if time.monotonic() > end:
                raise TimeoutError(f"expected counters did not come within {seconds} s, last were {counters}")
            time.sleep(0.001)
        return counters

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self._words[_SETTINGS.index(name)] = int(value)

    def _get(self, name: str) -> int:
        return int(self._words[_SETTINGS.index(name)])


def _times(times: int | None) -> int:
    return FOREVER if times is None else times


def _alive(pid: int) -> bool:
    """Whether the process runs; one that was killed and not yet waited for does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
