/* A PKCS#11 2.40 module that forwards to a real one and misbehaves when a shared control file (control.h) tells it to.
 *
 * ENGINE_FAULTY_MODULE   path of the real module
 * ENGINE_FAULTY_CONTROL  path of the control file, made by FaultyModule in faulty.py
 * ENGINE_FAULTY_ASKED    path of a file that is told what every C_Sign is given; without it, none is
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

#include "call.h"
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

/* SIGKILL is not outlived: no instruction of this process follows. */
static void end_at(const struct call *call, bool after)
{
	if (!call->watched || call->watched != control->kill_at || after != (bool)control->kill_after)
		return;
	control->kill_at = 0;
	kill(control->kill_group ? 0 : getpid(), SIGKILL);
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
	end_at(call, false);
	rv = real->C_Sign(call->session, data, data_len, signature, signature_len);
	if (rv != CKR_OK)
		return rv;
	control->signatures++;
	end_at(call, true);
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
	/* First: whatever is counted or signed has been told, also if this process is killed. */
	tell_asked(data, data_len);
	if (control->watched_octets && data_len == control->watched_octets)
		call.watched = ++control->watched_signs;
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
