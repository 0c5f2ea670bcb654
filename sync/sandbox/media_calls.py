"""The calls of the Communication Channels Media API, and the files they keep."""

from __future__ import annotations

import mimetypes
from urllib.parse import parse_qs, quote

from sync.sandbox import shapes
from sync.sandbox.context import Context, Upload
from sync.sandbox.errors import Refusal, not_found
from sync.sandbox.values import JsonObject, as_text
from sync.sandbox.world import MediaFile, new_id

STORAGE_BYTES = 500 * 1024 * 1024
UPLOAD_URL_SECONDS = 10 * 3600
UPLOADS_KEPT = 10_000
"""How many upload addresses are known; older ones count as expired."""
_REFUSED_TYPES = frozenset({"application/x-msdownload", "application/x-sh", "application/x-executable"})


def upload_url(context: Context) -> JsonObject:
    """An address to which one file can be uploaded."""
    body = context.body(shapes.UPLOAD_URL)
    _need_format(as_text(body["mimeType"]))
    token = new_id()
    expires = context.world.clock.now() + UPLOAD_URL_SECONDS
    while len(context.uploads) >= UPLOADS_KEPT:
        del context.uploads[next(iter(context.uploads))]
    context.uploads[token] = Upload(context.site.id, as_text(body["mimeType"]), expires)
    return {"uploadUrl": f"{context.request.base_url}/_media/upload/{token}"}


def upload(context: Context) -> JsonObject:
    """The bytes of a file."""
    token = context.uploads.get(context.path_id)
    if token is None or token.expires <= context.world.clock.now():
        raise Refusal(403, "UPLOAD_URL_EXPIRED", "the upload address is unknown or has expired")
    data = context.request.body
    if not data:
        raise Refusal(400, "ZERO_FILE_SIZE", "the file is empty")
    most = context.world.switches.file_max_bytes
    if len(data) > most:
        raise Refusal(400, "FILE_SIZE_OVER_LIMIT", f"more than {most} bytes")
    sent_type = context.request.headers.get("content-type", "").split(";")[0].strip().lower()
    if sent_type != token.mime_type.split(";")[0].strip().lower():
        raise Refusal(400, "MIME_TYPE_MISMATCH", f"announced as {token.mime_type}, sent as {sent_type}")
    names = parse_qs(context.request.query).get("filename", [])
    until = context.world.clock.now() + context.world.switches.media_seconds
    file = MediaFile(new_id(), names[0] if names else _a_name(sent_type), sent_type, data, known_until=until)
    site = context.world.site(token.site_id)
    context.world.add_media(site, file)
    context.ids["file"] = file.id
    url = file_url(context, file)
    details = {
        "id": file.id,
        "url": url,
        "displayName": file.filename,
        "mimeType": sent_type,
        "sizeInBytes": str(len(data)),
    }
    return {"file": details, "fileId": file.id, "url": url}


def import_file(context: Context) -> JsonObject:
    """A file at another address. The sandbox fetches nothing: it keeps the address."""
    body = context.body(shapes.IMPORT_FILE)
    url = as_text(body["url"])
    mime_type = as_text(body.get("mimeType")) or mimetypes.guess_type(url)[0] or "application/octet-stream"
    _need_format(mime_type)
    name = as_text(body.get("displayName")) or _a_name(mime_type)
    file = MediaFile(new_id(), name, mime_type, None, url)
    context.world.add_media(context.site, file)
    context.ids["file"] = file.id
    return {"fileId": file.id, "url": file_url(context, file), "sizeInBytes": "0"}


def download_url(context: Context) -> JsonObject:
    """The address of a file."""
    file_id = as_text(context.body(shapes.DOWNLOAD_URL)["fileId"])
    file = context.site.media.get(file_id)
    if file is None:
        raise not_found("FILE_NOT_FOUND", f"file {file_id}")
    return {"downloadUrl": file_url(context, file)}


def storage_quota(context: Context) -> JsonObject:
    """How much is stored, and how much may be."""
    used = sum(len(file.data or b"") for file in context.site.media.values())
    return {"storageQuota": {"totalInBytes": str(STORAGE_BYTES), "usedInBytes": str(used)}}


def _need_format(mime_type: str) -> None:
    if mime_type.lower() in _REFUSED_TYPES or "/" not in mime_type:
        raise Refusal(400, "UNSUPPORTED_FILE_FORMAT", f"{mime_type} is not supported")


def _a_name(mime_type: str) -> str:
    return f"file{mimetypes.guess_extension(mime_type) or ''}"


def file_url(context: Context, file: MediaFile) -> str:
    """Where a file can be loaded from."""
    return f"{context.request.base_url}/_media/file/{file.id}/{quote(file.filename, safe='')}"
