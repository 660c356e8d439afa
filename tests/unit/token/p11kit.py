"""libp11-kit's parser of PKCS#11 URIs, as a second opinion."""

import ctypes

from engine.token import Pkcs11Uri

_FOR_ANY = 0xFFFF
_CKA_CLASS, _CKA_LABEL, _CKA_ID = 0x000, 0x003, 0x102
_TYPES = {0: "data", 1: "cert", 2: "public", 3: "private", 4: "secret-key"}


class _Attribute(ctypes.Structure):
    _fields_ = (("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong))


class P11Kit:
    """Raises OSError where the library is not installed."""

    def __init__(self) -> None:
        self._library = library = ctypes.CDLL("libp11-kit.so.0")
        for name, result in (
            ("new", ctypes.c_void_p),
            ("parse", ctypes.c_int),
            ("get_token_info", ctypes.c_void_p),
            ("get_slot_info", ctypes.c_void_p),
            ("get_module_info", ctypes.c_void_p),
            ("get_slot_id", ctypes.c_ulong),
            ("get_attribute", ctypes.POINTER(_Attribute)),
            ("get_pin_source", ctypes.c_char_p),
            ("get_module_name", ctypes.c_char_p),
            ("get_module_path", ctypes.c_char_p),
            ("free", None),
        ):
            getattr(library, f"p11_kit_uri_{name}").restype = result

    def load_uri(self, text: str) -> Pkcs11Uri | None:
        """What libp11-kit reads in a URI, None if it refuses it. `pin_source` is as written; versions are left out."""
        uri = ctypes.c_void_p(self._library.p11_kit_uri_new())
        try:
            if self._library.p11_kit_uri_parse(text.encode(), _FOR_ANY, uri) != 0:
                return None
            return self._read(uri)
        finally:
            self._library.p11_kit_uri_free(uri)

    def _read(self, uri: ctypes.c_void_p) -> Pkcs11Uri:
        token = ctypes.string_at(self._library.p11_kit_uri_get_token_info(uri), 96)
        slot = ctypes.string_at(self._library.p11_kit_uri_get_slot_info(uri), 96)
        module = ctypes.string_at(self._library.p11_kit_uri_get_module_info(uri), 82)
        slot_id = self._library.p11_kit_uri_get_slot_id(uri)
        object_class = self._attribute(uri, _CKA_CLASS)
        label = self._attribute(uri, _CKA_LABEL)
        return Pkcs11Uri(
            token=_padded(token[:32]),
            manufacturer=_padded(token[32:64]),
            model=_padded(token[64:80]),
            serial=_padded(token[80:96]),
            slot_description=_padded(slot[:64]),
            slot_manufacturer=_padded(slot[64:96]),
            library_manufacturer=_padded(module[2:34]),
            library_description=_padded(module[48:80]),
            slot_id=None if slot_id == ctypes.c_ulong(-1).value else slot_id,
            object=None if label is None else label.decode(),
            id=self._attribute(uri, _CKA_ID),
            type=None if object_class is None else _TYPES[int.from_bytes(object_class, "little")],
            pin_source=_text(self._library.p11_kit_uri_get_pin_source(uri)),
            module_name=_text(self._library.p11_kit_uri_get_module_name(uri)),
            module_path=_text(self._library.p11_kit_uri_get_module_path(uri)),
        )

    def _attribute(self, uri: ctypes.c_void_p, kind: int) -> bytes | None:
        found = self._library.p11_kit_uri_get_attribute(uri, ctypes.c_ulong(kind))
        return ctypes.string_at(found.contents.value, found.contents.length) if found else None


def _padded(field: bytes) -> str | None:
    """p11-kit leaves a field that no attribute set zero, and pads others with blanks."""
    return None if not field[0] else field.decode(errors="replace").rstrip(" ")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
