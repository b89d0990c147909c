"""What kind of file some bytes are, by their first ones: the sender's word is only the fallback."""

from __future__ import annotations

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"{\\rtf", "application/rtf"),
    (b"MZ", "application/x-msdownload"),
    (b"\x7fELF", "application/x-executable"),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x78\x9f\x3e\x22", "application/ms-tnef"),
    (b"BEGIN:VCARD", "text/vcard"),
    (b"BEGIN:VCALENDAR", "text/calendar"),
)
# Containers whose members decide; the sender's type is believed if it is one of these families.
_ZIPPED = ("application/vnd.openxmlformats", "application/vnd.oasis", "application/epub")
_OLE = ("application/msword", "application/vnd.ms-")
UNKNOWN = "application/octet-stream"
LONGEST = 100


def media_type_of(content: bytes, declared: str) -> str:
    """The media type: of the bytes where they tell, else the declared one."""
    said = declared.strip().lower()[:LONGEST] or UNKNOWN
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content.startswith(b"PK\x03\x04"):
        return said if said.startswith(_ZIPPED) else "application/zip"
    found = next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)
    if found == "application/x-ole-storage" and said.startswith(_OLE):
        return said
    return found or said
