/* The functions that need nothing beyond the faults every call can get. */

FORWARD_PLAIN(C_GetInfo, (CK_INFO *info), (info))

FORWARD_SLOT(C_GetMechanismList, (CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count), (slot, list, count))
FORWARD_SLOT(C_GetMechanismInfo, (CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info), (slot, type, info))
FORWARD_SLOT(C_InitToken, (CK_SLOT_ID slot, CK_BYTE *pin, CK_ULONG pin_len, CK_BYTE *label),
	     (slot, pin, pin_len, label))

#define BYTES(NAME) CK_BYTE *NAME, CK_ULONG NAME##_len
#define OUTPUT(NAME) CK_BYTE *NAME, CK_ULONG *NAME##_len
#define PASS(NAME) NAME, NAME##_len
#define TEMPLATE(NAME) CK_ATTRIBUTE *NAME, CK_ULONG NAME##_len

#define INIT_WITH_KEY(NAME) \
	FORWARD_SESSION(NAME, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), \
			(session, mechanism, key))
#define INPUT_ONLY(NAME) FORWARD_SESSION(NAME, (CK_SESSION_HANDLE session, BYTES(in)), (session, PASS(in)))
#define INPUT_INPUT(NAME) \
	FORWARD_SESSION(NAME, (CK_SESSION_HANDLE session, BYTES(in), BYTES(more)), (session, PASS(in), PASS(more)))
#define INPUT_OUTPUT(NAME) \
	FORWARD_SESSION(NAME, (CK_SESSION_HANDLE session, BYTES(in), OUTPUT(out)), (session, PASS(in), PASS(out)))
#define OUTPUT_ONLY(NAME) FORWARD_SESSION(NAME, (CK_SESSION_HANDLE session, OUTPUT(out)), (session, PASS(out)))
#define SESSION_ONLY(NAME) FORWARD_SESSION(NAME, (CK_SESSION_HANDLE session), (session))

INPUT_ONLY(C_InitPIN)
INPUT_INPUT(C_SetPIN)
OUTPUT_ONLY(C_GetOperationState)
FORWARD_SESSION(C_SetOperationState,
		(CK_SESSION_HANDLE session, BYTES(state), CK_OBJECT_HANDLE encryption, CK_OBJECT_HANDLE authentication),
		(session, PASS(state), encryption, authentication))
FORWARD_SESSION(C_Login, (CK_SESSION_HANDLE session, CK_USER_TYPE user, BYTES(pin)), (session, user, PASS(pin)))
SESSION_ONLY(C_Logout)

FORWARD_SESSION(C_CreateObject, (CK_SESSION_HANDLE session, TEMPLATE(template), CK_OBJECT_HANDLE *object),
		(session, PASS(template), object))
FORWARD_SESSION(C_CopyObject,
		(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, TEMPLATE(template), CK_OBJECT_HANDLE *copy),
		(session, object, PASS(template), copy))
FORWARD_SESSION(C_DestroyObject, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), (session, object))
FORWARD_SESSION(C_GetObjectSize, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ULONG *size),
		(session, object, size))
FORWARD_SESSION(C_SetAttributeValue, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, TEMPLATE(template)),
		(session, object, PASS(template)))
FORWARD_SESSION(C_FindObjectsInit, (CK_SESSION_HANDLE session, TEMPLATE(template)), (session, PASS(template)))
FORWARD_SESSION(C_FindObjects, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG room, CK_ULONG *count),
		(session, objects, room, count))
SESSION_ONLY(C_FindObjectsFinal)

INIT_WITH_KEY(C_EncryptInit)
INPUT_OUTPUT(C_Encrypt)
INPUT_OUTPUT(C_EncryptUpdate)
OUTPUT_ONLY(C_EncryptFinal)
INIT_WITH_KEY(C_DecryptInit)
INPUT_OUTPUT(C_Decrypt)
INPUT_OUTPUT(C_DecryptUpdate)
OUTPUT_ONLY(C_DecryptFinal)
FORWARD_SESSION(C_DigestInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism), (session, mechanism))
INPUT_OUTPUT(C_Digest)
INPUT_ONLY(C_DigestUpdate)
FORWARD_SESSION(C_DigestKey, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key), (session, key))
OUTPUT_ONLY(C_DigestFinal)
INIT_WITH_KEY(C_SignInit)
INPUT_ONLY(C_SignUpdate)
OUTPUT_ONLY(C_SignFinal)
INIT_WITH_KEY(C_SignRecoverInit)
INPUT_OUTPUT(C_SignRecover)
INIT_WITH_KEY(C_VerifyInit)
INPUT_INPUT(C_Verify)
INPUT_ONLY(C_VerifyUpdate)
INPUT_ONLY(C_VerifyFinal)
INIT_WITH_KEY(C_VerifyRecoverInit)
INPUT_OUTPUT(C_VerifyRecover)
INPUT_OUTPUT(C_DigestEncryptUpdate)
INPUT_OUTPUT(C_DecryptDigestUpdate)
INPUT_OUTPUT(C_SignEncryptUpdate)
INPUT_OUTPUT(C_DecryptVerifyUpdate)

FORWARD_SESSION(C_GenerateKey,
		(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, TEMPLATE(template), CK_OBJECT_HANDLE *key),
		(session, mechanism, PASS(template), key))
FORWARD_SESSION(C_GenerateKeyPair,
		(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, TEMPLATE(public_template),
		 TEMPLATE(private_template), CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key),
		(session, mechanism, PASS(public_template), PASS(private_template), public_key, private_key))
FORWARD_SESSION(C_WrapKey,
		(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key,
		 OUTPUT(wrapped)),
		(session, mechanism, wrapping, key, PASS(wrapped)))
FORWARD_SESSION(C_UnwrapKey,
		(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE unwrapping, BYTES(wrapped),
		 TEMPLATE(template), CK_OBJECT_HANDLE *key),
		(session, mechanism, unwrapping, PASS(wrapped), PASS(template), key))
FORWARD_SESSION(C_DeriveKey,
		(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base, TEMPLATE(template),
		 CK_OBJECT_HANDLE *key),
		(session, mechanism, base, PASS(template), key))
INPUT_ONLY(C_SeedRandom)
FORWARD_SESSION(C_GenerateRandom, (CK_SESSION_HANDLE session, BYTES(random)), (session, PASS(random)))
SESSION_ONLY(C_GetFunctionStatus)
SESSION_ONLY(C_CancelFunction)
