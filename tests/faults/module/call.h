/* The sessions of this process, and the way of a call: enter, reach, inject, the real module, leave. Part of faulty.c. */
#ifndef CALL_H
#define CALL_H

#include "process.h"

#define FUNCTION(NAME) \
	((offsetof(CK_FUNCTION_LIST, NAME) - offsetof(CK_FUNCTION_LIST, C_Initialize)) / sizeof(CK_C_Initialize))
_Static_assert(FUNCTION(C_WaitForSlotEvent) == FUNCTIONS - 1, "CK_FUNCTION_LIST is not that of PKCS#11 2.40");
_Static_assert(sizeof(word) == 8, "a control word is not eight octets");

struct session {
	CK_SESSION_HANDLE handle;
	CK_SLOT_ID slot; /* as the real module numbers it */
	unsigned in_use;
	bool dead;
};

struct call {
	size_t function;
	CK_SESSION_HANDLE session; /* 0: none */
	struct process *process;
	uint64_t initialization;
	CK_RV after;      /* to answer in place of CKR_OK */
	uint64_t watched; /* its number among the watched C_Sign; 0: it is not one */
	bool locked;
};

/* Held for reading around every real call on a token, for writing by what ends sessions under the callers' feet. */
static pthread_rwlock_t token_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static pthread_mutex_t sessions_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct session *sessions;
static size_t session_count, session_room;
static word initialization; /* counts C_Finalize */

/* -- sessions of this process; the mutex is held by the caller ---------------------------------------------------- */

static struct session *find_session(CK_SESSION_HANDLE handle)
{
	for (size_t i = 0; i < session_count; i++)
		if (sessions[i].handle == handle)
			return &sessions[i];
	return NULL;
}

static void forget_session(struct process *process, struct session *session)
{
	if (!session->dead)
		process->open_sessions--;
	*session = sessions[--session_count];
}

static bool remember_session(CK_SESSION_HANDLE handle, CK_SLOT_ID slot)
{
	struct session *grown, *session = find_session(handle);

	if (!session) {
		if (session_count == session_room) {
			grown = realloc(sessions, (session_room + 64) * sizeof *sessions);
			if (!grown)
				return false;
			sessions = grown;
			session_room += 64;
		}
		session = &sessions[session_count++];
	}
	*session = (struct session){.handle = handle, .slot = slot};
	return true;
}

/* The token was pulled or moved since this process last looked: its sessions end, and with them the login. */
static void follow_epoch(struct process *process)
{
	uint64_t epoch = control->epoch;

	if (seen_epoch == epoch)
		return;
	pthread_rwlock_wrlock(&token_lock);
	pthread_mutex_lock(&sessions_mutex);
	if (seen_epoch != epoch) {
		for (size_t i = 0; i < session_count; i++) {
			if (sessions[i].dead)
				continue;
			real->C_CloseAllSessions(sessions[i].slot);
			sessions[i].dead = true;
			process->open_sessions--;
		}
		seen_epoch = epoch;
	}
	pthread_mutex_unlock(&sessions_mutex);
	pthread_rwlock_unlock(&token_lock);
}

/* -- the way of a call ------------------------------------------------------------------------------------------ */

static CK_RV enter(struct call *call, size_t function, CK_SESSION_HANDLE handle)
{
	struct session *session;

	*call = (struct call){.function = function, .session = handle};
	if (!loaded())
		return CKR_GENERAL_ERROR;
	control->calls[function]++;
	call->process = this_process();
	call->initialization = initialization;
	raise_to(&control->max_calls_in_flight, ++call->process->calls_in_flight);
	if (handle) {
		pthread_mutex_lock(&sessions_mutex);
		session = find_session(handle);
		if (session && session->in_use++)
			control->session_overlaps++;
		pthread_mutex_unlock(&sessions_mutex);
	}
	return CKR_OK;
}

static void let_go(struct call *call)
{
	if (call->locked)
		pthread_rwlock_unlock(&token_lock);
	call->locked = false;
}

static CK_RV leave(struct call *call, CK_RV rv)
{
	struct session *session;

	let_go(call);
	if (!call->process)
		return rv;
	if (call->session) {
		pthread_mutex_lock(&sessions_mutex);
		session = find_session(call->session);
		if (session && session->in_use)
			session->in_use--;
		pthread_mutex_unlock(&sessions_mutex);
	}
	call->process->calls_in_flight--;
	return rv == CKR_OK ? call->after : rv;
}

static CK_RV reach_session(struct call *call)
{
	struct session *session;
	bool dead;

	follow_epoch(call->process);
	pthread_rwlock_rdlock(&token_lock);
	call->locked = true;
	if (control->token_absent)
		return CKR_DEVICE_REMOVED;
	if (call->initialization != initialization) /* finalised meanwhile: the handle may be another session's now */
		return CKR_SESSION_HANDLE_INVALID;
	pthread_mutex_lock(&sessions_mutex);
	session = find_session(call->session);
	dead = session && session->dead;
	pthread_mutex_unlock(&sessions_mutex);
	return dead ? (CK_RV)control->dead_session_answer : CKR_OK;
}

static CK_RV reach_slot(struct call *call, CK_SLOT_ID *slot)
{
	CK_SLOT_INFO info;
	CK_RV rv;

	follow_epoch(call->process);
	pthread_rwlock_rdlock(&token_lock);
	call->locked = true;
	*slot -= control->slot_offset;
	rv = real->C_GetSlotInfo(*slot, &info);
	return rv == CKR_OK && control->token_absent ? CKR_TOKEN_NOT_PRESENT : rv;
}

static CK_RV inject(struct call *call)
{
	bool in_session = call->session && call->function != FUNCTION(C_Login) && call->function != FUNCTION(C_Logout) &&
			  call->function != FUNCTION(C_CloseSession);

	if (in_session && (control->logout_at == FOREVER || control->logout_at == call->function) &&
	    take(&control->logout_remaining)) {
		real->C_Logout(call->session);
		if (control->logout_answer)
			return (CK_RV)control->logout_answer;
	}
	for (struct rule *rule = control->rules; rule < control->rules + RULES; rule++) {
		if (!rule->remaining || (rule->function != FOREVER && rule->function != call->function))
			continue;
		if (++rule->seen % (rule->every ? rule->every : 1) || !take(&rule->remaining))
			continue;
		rule->fired++;
		if (!rule->after)
			return (CK_RV)rule->answer;
		call->after = (CK_RV)rule->answer;
	}
	return CKR_OK;
}

#define FORWARD(NAME, PARAMETERS, ARGUMENTS, SESSION, REACH) \
	CK_RV NAME PARAMETERS \
	{ \
		struct call call; \
		CK_RV rv = enter(&call, FUNCTION(NAME), SESSION); \
		if (rv == CKR_OK) \
			rv = REACH; \
		if (rv == CKR_OK) \
			rv = inject(&call); \
		if (rv == CKR_OK) \
			rv = real->NAME ARGUMENTS; \
		return leave(&call, rv); \
	}
#define FORWARD_PLAIN(NAME, PARAMETERS, ARGUMENTS) FORWARD(NAME, PARAMETERS, ARGUMENTS, 0, CKR_OK)
#define FORWARD_SLOT(NAME, PARAMETERS, ARGUMENTS) FORWARD(NAME, PARAMETERS, ARGUMENTS, 0, reach_slot(&call, &slot))
#define FORWARD_SESSION(NAME, PARAMETERS, ARGUMENTS) \
	FORWARD(NAME, PARAMETERS, ARGUMENTS, session, reach_session(&call))

#endif
