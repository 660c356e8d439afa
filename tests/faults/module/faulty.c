/* A PKCS#11 2.40 module that forwards to a real one and misbehaves when a shared control file (control.h) tells it to.
 *
 * ENGINE_FAULTY_MODULE   path of the real module
 * ENGINE_FAULTY_CONTROL  path of the control file, made by FaultyModule in faulty.py
 *
 * A call goes: enter (count it), reach (is the token there, is the session alive), inject (is it the turn of a fault),
 * the real module, leave. Only tests load this module. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control.h"

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
	CK_RV after; /* to answer in place of CKR_OK */
	bool locked;
};

static struct control *control;
static int control_file = -1;
static CK_FUNCTION_LIST *real;

/* Held for reading around every real call on a token, for writing by what ends sessions under the callers' feet. */
static pthread_rwlock_t token_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static pthread_mutex_t control_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t sessions_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct session *sessions;
static size_t session_count, session_room;
static word seen_epoch, initialization;

/* -- the control file ------------------------------------------------------------------------------------------- */

static void load(void)
{
	const char *module = getenv("ENGINE_FAULTY_MODULE"), *path = getenv("ENGINE_FAULTY_CONTROL");
	CK_RV (*get_function_list)(CK_FUNCTION_LIST **);
	struct stat status;
	void *library, *map;

	if (!module || !path) {
		fprintf(stderr, "faulty module: ENGINE_FAULTY_MODULE and ENGINE_FAULTY_CONTROL must both be set\n");
		return;
	}
	control_file = open(path, O_RDWR | O_CLOEXEC);
	if (control_file < 0 || fstat(control_file, &status) || status.st_size != sizeof(struct control)) {
		fprintf(stderr, "faulty module: %s is not a control file of %zu octets\n", path, sizeof(struct control));
		return;
	}
	map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, control_file, 0);
	if (map == MAP_FAILED) {
		perror("faulty module: mmap");
		return;
	}
	control = map;
	if (control->magic != CONTROL_MAGIC) {
		fprintf(stderr, "faulty module: %s does not begin with the magic of a control file\n", path);
		return;
	}
	/* Deep binding: the real module's own C_ names must not resolve to ours when ours were loaded globally. */
	library = dlopen(module, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	if (!library) {
		fprintf(stderr, "faulty module: %s\n", dlerror());
		return;
	}
	*(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
	if (!get_function_list || get_function_list(&real) != CKR_OK) {
		fprintf(stderr, "faulty module: %s gives no function list\n", module);
		real = NULL;
	}
	seen_epoch = control->epoch;
}

static bool loaded(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return real != NULL;
}

/* One thread of one process at a time; the kernel gives the file lock back when a process is killed. */
static void lock_control(void)
{
	pthread_mutex_lock(&control_mutex);
	while (flock(control_file, LOCK_EX))
		;
}

static void unlock_control(void)
{
	flock(control_file, LOCK_UN);
	pthread_mutex_unlock(&control_mutex);
}

/* A process that was killed and not yet waited for is dead too. */
static bool alive(uint64_t pid)
{
	char path[64], text[512], *state;
	size_t length;
	FILE *file;

	if (kill((pid_t)pid, 0))
		return false;
	snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	length = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[length] = '\0';
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] != 'Z' && state[2] != 'X';
}

static struct process *this_process(void)
{
	static struct process *_Atomic own;
	struct process *process = own;
	uint64_t pid = (uint64_t)getpid();

	if (process && process->pid == pid)
		return process;
	lock_control();
	process = NULL;
	for (size_t i = 0; i < PROCESSES && !process; i++)
		if (control->processes[i].pid == pid)
			process = &control->processes[i];
	for (size_t i = 0; i < PROCESSES && !process; i++) {
		if (control->processes[i].pid && alive(control->processes[i].pid))
			continue;
		process = &control->processes[i];
		process->open_sessions = process->calls_in_flight = 0;
		process->signs_in_flight = process->signs_hanging = 0;
		process->pid = pid;
	}
	unlock_control();
	if (!process) {
		fprintf(stderr, "faulty module: more than %d processes use one control file\n", PROCESSES);
		abort();
	}
	own = process;
	return process;
}

static uint64_t all_open_sessions(const struct process *own)
{
	uint64_t open = own->open_sessions;

	for (size_t i = 0; i < PROCESSES; i++) {
		const struct process *other = &control->processes[i];
		if (other != own && other->pid && other->open_sessions && alive(other->pid))
			open += other->open_sessions;
	}
	return open;
}

/* One less of a "how many more" word; false when none is left. */
static bool take(word *remaining)
{
	uint64_t left = *remaining;

	while (left && left != FOREVER)
		if (atomic_compare_exchange_weak(remaining, &left, left - 1))
			return true;
	return left == FOREVER;
}

static void raise_to(word *maximum, uint64_t value)
{
	uint64_t seen = *maximum;

	while (seen < value && !atomic_compare_exchange_weak(maximum, &seen, value))
		;
}

static void pause_ms(uint64_t milliseconds)
{
	struct timespec rest = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, &rest))
		;
}

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

#include "forwards.h"

/* -- module ------------------------------------------------------------------------------------------------------- */

CK_RV C_Initialize(void *arguments)
{
	const CK_C_INITIALIZE_ARGS *asked = arguments;
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_Initialize), 0);

	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK && control->refuse_os_locking && asked && asked->flags & CKF_OS_LOCKING_OK)
		rv = CKR_CANT_LOCK;
	if (rv == CKR_OK)
		rv = real->C_Initialize(arguments);
	return leave(&call, rv);
}

CK_RV C_Finalize(void *reserved)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_Finalize), 0);

	if (rv == CKR_OK && call.process->calls_in_flight > 1)
		control->finalized_in_flight++;
	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK) {
		pthread_rwlock_wrlock(&token_lock);
		rv = real->C_Finalize(reserved);
		if (rv == CKR_OK) {
			pthread_mutex_lock(&sessions_mutex);
			session_count = 0;
			call.process->open_sessions = 0;
			initialization++;
			pthread_mutex_unlock(&sessions_mutex);
		}
		pthread_rwlock_unlock(&token_lock);
	}
	return leave(&call, rv);
}

/* -- slots -------------------------------------------------------------------------------------------------------- */

CK_RV C_GetSlotList(CK_BBOOL token_present, CK_SLOT_ID *list, CK_ULONG *count)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_GetSlotList), 0);

	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK)
		rv = real->C_GetSlotList(token_present, list, count);
	if (rv == CKR_OK && token_present && control->token_absent)
		*count = 0;
	for (CK_ULONG i = 0; rv == CKR_OK && list && i < *count; i++)
		list[i] += control->slot_offset;
	return leave(&call, rv);
}

CK_RV C_GetSlotInfo(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_GetSlotInfo), 0);

	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK)
		rv = real->C_GetSlotInfo(slot - control->slot_offset, info);
	if (rv == CKR_OK && control->token_absent)
		info->flags &= ~(CK_FLAGS)CKF_TOKEN_PRESENT;
	return leave(&call, rv);
}

CK_RV C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_GetTokenInfo), 0);

	if (rv == CKR_OK)
		rv = reach_slot(&call, &slot);
	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK)
		rv = real->C_GetTokenInfo(slot, info);
	if (rv == CKR_OK) {
		info->flags |= control->token_flags;
		if (control->session_cap != FOREVER)
			info->ulMaxSessionCount = control->session_cap;
	}
	return leave(&call, rv);
}

/* Without the token lock: this call may wait for ever, and must not keep a removal from happening. */
CK_RV C_WaitForSlotEvent(CK_FLAGS flags, CK_SLOT_ID *slot, void *reserved)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_WaitForSlotEvent), 0);

	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK)
		rv = real->C_WaitForSlotEvent(flags, slot, reserved);
	if (rv == CKR_OK)
		*slot += control->slot_offset;
	return leave(&call, rv);
}

/* -- sessions ----------------------------------------------------------------------------------------------------- */

CK_RV C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *session)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_OpenSession), 0);

	if (rv == CKR_OK)
		rv = reach_slot(&call, &slot);
	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv != CKR_OK)
		return leave(&call, rv);
	lock_control(); /* the place is taken before the session is opened: never one too many */
	if (all_open_sessions(call.process) >= control->session_cap)
		rv = CKR_SESSION_COUNT;
	else
		call.process->open_sessions++;
	unlock_control();
	if (rv != CKR_OK)
		return leave(&call, rv);
	rv = real->C_OpenSession(slot, flags, application, notify, session);
	if (rv == CKR_OK) {
		pthread_mutex_lock(&sessions_mutex);
		if (!remember_session(*session, slot))
			rv = CKR_HOST_MEMORY;
		pthread_mutex_unlock(&sessions_mutex);
	}
	if (rv == CKR_OK)
		raise_to(&control->max_open_sessions, all_open_sessions(call.process));
	else
		call.process->open_sessions--;
	return leave(&call, rv);
}

CK_RV C_CloseSession(CK_SESSION_HANDLE session)
{
	struct session *known;
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_CloseSession), session);

	if (rv == CKR_OK)
		rv = reach_session(&call);
	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK)
		rv = real->C_CloseSession(session);
	if (call.process) {
		pthread_mutex_lock(&sessions_mutex);
		known = find_session(session);
		if (known && (rv == CKR_OK || known->dead))
			forget_session(call.process, known);
		pthread_mutex_unlock(&sessions_mutex);
	}
	return leave(&call, rv);
}

CK_RV C_CloseAllSessions(CK_SLOT_ID slot)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_CloseAllSessions), 0);

	if (rv == CKR_OK)
		rv = reach_slot(&call, &slot);
	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK)
		rv = real->C_CloseAllSessions(slot);
	if (rv == CKR_OK) {
		pthread_mutex_lock(&sessions_mutex);
		for (size_t i = session_count; i-- > 0;)
			if (sessions[i].slot == slot)
				forget_session(call.process, &sessions[i]);
		pthread_mutex_unlock(&sessions_mutex);
	}
	return leave(&call, rv);
}

CK_RV C_GetSessionInfo(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_GetSessionInfo), session);

	if (rv == CKR_OK)
		rv = reach_session(&call);
	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK)
		rv = real->C_GetSessionInfo(session, info);
	if (rv == CKR_OK)
		info->slotID += control->slot_offset;
	return leave(&call, rv);
}

/* -- objects ------------------------------------------------------------------------------------------------------ */

/* The contents of a DER OCTET STRING that fills its buffer, or the buffer itself. */
static const CK_BYTE *unwrap(const CK_BYTE *octets, CK_ULONG *length)
{
	CK_ULONG header = 2, contents;

	if (*length < 2 || octets[0] != 0x04)
		return octets;
	contents = octets[1];
	if (contents == 0x81 && *length > 2) {
		contents = octets[2];
		header = 3;
	}
	if (header + contents != *length)
		return octets;
	*length = contents;
	return octets + header;
}

/* Every CKA_EC_POINT is read whole into room of our own, and its inside handed on as the module would have done it. */
static CK_RV raw_points(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count)
{
	CK_BYTE(*points)[512] = calloc(count, sizeof *points);
	CK_ATTRIBUTE *asked = calloc(count, sizeof *asked);
	CK_RV rv = CKR_HOST_MEMORY;

	if (points && asked) {
		memcpy(asked, template, count * sizeof *asked);
		for (CK_ULONG i = 0; i < count; i++)
			if (asked[i].type == CKA_EC_POINT) {
				asked[i].pValue = points[i];
				asked[i].ulValueLen = sizeof points[i];
			}
		rv = real->C_GetAttributeValue(session, object, asked, count);
		for (CK_ULONG i = 0; i < count; i++) {
			CK_ULONG length = asked[i].ulValueLen, room = template[i].ulValueLen;

			template[i].ulValueLen = length;
			if (asked[i].type != CKA_EC_POINT || length == (CK_ULONG)-1)
				continue;
			const CK_BYTE *point = unwrap(points[i], &length);
			if (template[i].pValue && room < length) {
				template[i].ulValueLen = (CK_ULONG)-1;
				rv = rv == CKR_OK ? CKR_BUFFER_TOO_SMALL : rv;
				continue;
			}
			template[i].ulValueLen = length;
			if (template[i].pValue)
				memcpy(template[i].pValue, point, length);
		}
	}
	free(points);
	free(asked);
	return rv;
}

CK_RV C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_GetAttributeValue), session);

	if (rv == CKR_OK)
		rv = reach_session(&call);
	if (rv == CKR_OK)
		rv = inject(&call);
	if (rv == CKR_OK)
		rv = control->raw_ec_point && template && count ? raw_points(session, object, template, count)
							       : real->C_GetAttributeValue(session, object, template, count);
	return leave(&call, rv);
}

/* -- signing ------------------------------------------------------------------------------------------------------ */

static void hang(struct process *process)
{
	uint64_t release = control->hang_release; /* read first: a release between the two must not be missed */

	if (!take(&control->hang_remaining))
		return;
	process->signs_hanging++;
	while (control->hang_release == release)
		pause_ms(1);
	process->signs_hanging--;
}

static CK_RV sign(struct call *call, CK_BYTE *data, CK_ULONG data_len, CK_BYTE *signature, CK_ULONG *signature_len)
{
	CK_BYTE unwanted[2048];
	CK_ULONG unwanted_len = sizeof unwanted;
	CK_RV rv;

	pause_ms(control->sign_latency_ms);
	if (!control->hang_after)
		hang(call->process);
	rv = reach_session(call);
	if (rv != CKR_OK)
		return rv;
	rv = inject(call);
	if (rv != CKR_OK) {
		/* PKCS#11 2.40, 5.13: a C_Sign that fails ends the operation, so it must end in the real module too. */
		real->C_Sign(call->session, data, data_len, unwanted, &unwanted_len);
		return rv;
	}
	rv = real->C_Sign(call->session, data, data_len, signature, signature_len);
	if (rv != CKR_OK)
		return rv;
	control->signatures++;
	if (*signature_len && take(&control->corrupt_remaining))
		signature[*signature_len - 1] ^= 1;
	if (control->hang_after) {
		let_go(call);
		hang(call->process);
	}
	return CKR_OK;
}

CK_RV C_Sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len, CK_BYTE *signature, CK_ULONG *signature_len)
{
	struct call call;
	CK_RV rv = enter(&call, FUNCTION(C_Sign), session);

	if (rv != CKR_OK)
		return leave(&call, rv);
	if (!signature) { /* only asks for the length: no signature, so no fault meant for signatures */
		rv = reach_session(&call);
		if (rv == CKR_OK)
			rv = real->C_Sign(session, data, data_len, NULL, signature_len);
		return leave(&call, rv);
	}
	control->sign_calls++;
	raise_to(&control->max_signs_in_flight, ++call.process->signs_in_flight);
	rv = sign(&call, data, data_len, signature, signature_len);
	call.process->signs_in_flight--;
	return leave(&call, rv);
}

/* -- the list ----------------------------------------------------------------------------------------------------- */

static CK_FUNCTION_LIST functions = {
	.version = {2, 40},
#define LIST(NAME) .NAME = NAME
	LIST(C_Initialize), LIST(C_Finalize), LIST(C_GetInfo), LIST(C_GetFunctionList), LIST(C_GetSlotList),
	LIST(C_GetSlotInfo), LIST(C_GetTokenInfo), LIST(C_GetMechanismList), LIST(C_GetMechanismInfo), LIST(C_InitToken),
	LIST(C_InitPIN), LIST(C_SetPIN), LIST(C_OpenSession), LIST(C_CloseSession), LIST(C_CloseAllSessions),
	LIST(C_GetSessionInfo), LIST(C_GetOperationState), LIST(C_SetOperationState), LIST(C_Login), LIST(C_Logout),
	LIST(C_CreateObject), LIST(C_CopyObject), LIST(C_DestroyObject), LIST(C_GetObjectSize),
	LIST(C_GetAttributeValue), LIST(C_SetAttributeValue), LIST(C_FindObjectsInit), LIST(C_FindObjects),
	LIST(C_FindObjectsFinal), LIST(C_EncryptInit), LIST(C_Encrypt), LIST(C_EncryptUpdate), LIST(C_EncryptFinal),
	LIST(C_DecryptInit), LIST(C_Decrypt), LIST(C_DecryptUpdate), LIST(C_DecryptFinal), LIST(C_DigestInit),
	LIST(C_Digest), LIST(C_DigestUpdate), LIST(C_DigestKey), LIST(C_DigestFinal), LIST(C_SignInit), LIST(C_Sign),
	LIST(C_SignUpdate), LIST(C_SignFinal), LIST(C_SignRecoverInit), LIST(C_SignRecover), LIST(C_VerifyInit),
	LIST(C_Verify), LIST(C_VerifyUpdate), LIST(C_VerifyFinal), LIST(C_VerifyRecoverInit), LIST(C_VerifyRecover),
	LIST(C_DigestEncryptUpdate), LIST(C_DecryptDigestUpdate), LIST(C_SignEncryptUpdate),
	LIST(C_DecryptVerifyUpdate), LIST(C_GenerateKey), LIST(C_GenerateKeyPair), LIST(C_WrapKey), LIST(C_UnwrapKey),
	LIST(C_DeriveKey), LIST(C_SeedRandom), LIST(C_GenerateRandom), LIST(C_GetFunctionStatus),
	LIST(C_CancelFunction), LIST(C_WaitForSlotEvent),
};

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
	if (!loaded())
		return CKR_GENERAL_ERROR;
	control->calls[FUNCTION(C_GetFunctionList)]++;
	if (!list)
		return CKR_ARGUMENTS_BAD;
	*list = &functions;
	return CKR_OK;
}
