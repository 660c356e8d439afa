/* The shared control file: what the tests write, and what the module counts. Every field is one native 64-bit word,
 * so that either side reads and writes it whole; tests/faults/faulty.py holds the same layout. */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdint.h>

#define CONTROL_MAGIC UINT64_C(0x31594c5455414631)
#define FOREVER UINT64_MAX /* in a "how many more" word: until cleared; as a function: any function */
#define FUNCTIONS 68       /* of CK_FUNCTION_LIST 2.40, numbered in its order: C_Initialize 0, C_WaitForSlotEvent 67 */
#define RULES 16
#define PROCESSES 64

typedef _Atomic uint64_t word;

struct rule {
	word function;  /* number, or FOREVER for any */
	word answer;    /* CKR to answer */
	word every;     /* each so-many-th matching call */
	word after;     /* 0: the token never sees the call; 1: the token does the work and only the answer is lost */
	word remaining; /* faults still to give; 0: rule is off */
	word seen;      /* matching calls while the rule was on */
	word fired;     /* faults given */
	word reserved;
};

/* What ends with a process, however it ends: entries of dead processes do not count. */
struct process {
	word pid;
	word open_sessions;
	word calls_in_flight;
	word signs_in_flight;
	word signs_hanging;
	word reserved[3];
};

struct control {
	word magic;
	word size;
	/* Settings, written by the test. */
	word sign_latency_ms;
	word hang_remaining;
	word hang_release; /* a hanging C_Sign goes on when this changes */
	word hang_after;   /* 0: hang before the token signs; 1: hang with the signature made */
	word session_cap;  /* FOREVER: no cap */
	word corrupt_remaining;
	word slot_offset;
	word dead_session_answer; /* CKR for sessions lost to a removal or move, once the token is back */
	word token_absent;
	word epoch; /* every change ends all sessions and the login, as pulling the token does */
	word raw_ec_point;
	word refuse_os_locking;
	word token_flags;
	word logout_remaining;
	word logout_at;      /* function at whose call the login is lost, or FOREVER */
	word logout_answer;  /* CKR that call answers; 0: whatever the real module answers */
	word watched_octets; /* a C_Sign of so many octets of data is watched; 0: none is */
	word kill_at;        /* the number of the watched C_Sign that ends its process; 0: none does */
	word kill_after;     /* 0: before the token signs; 1: with the signature made */
	word kill_group;     /* 1: and with it every process of its group */
	struct rule rules[RULES];
	/* Counters, written by the module. */
	word calls[FUNCTIONS];
	word sign_calls; /* C_Sign with a buffer: the question for the length is not a signature */
	word signatures; /* of those, the ones the real module answered with CKR_OK */
	word max_open_sessions;
	word max_calls_in_flight; /* in one process */
	word max_signs_in_flight; /* in one process */
	word session_overlaps;    /* calls that came while another call used the same session */
	word finalized_in_flight; /* C_Finalize calls that came while another call was in the module */
	word watched_signs;       /* of sign_calls, the watched ones */
	struct process processes[PROCESSES];
};

#endif
