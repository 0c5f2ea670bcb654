"""Which folders a configured path holds, and in which format. Looks at the disk, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from sync.connector import StreamRole
from sync.errors import ConfigError

from .config import MaildirConfig, MailFormat
from .files import EmlFolder, MaildirFolder
from .mbox import MboxFile, looks_like_mbox
from .store import Folder, reason

INBOX = "INBOX"
_SENT_NAMES = ("Sent", "sent", "Sent Items", "Sent Messages", "Gesendet", "Envoyés", "Enviados", "Inviata", "Verzonden")


@dataclass(frozen=True, slots=True)
class Place:
    """A configured folder: its name (the stream's key), where it lies (None: nowhere), and its role."""

    name: str
    path: Path | None
    role: StreamRole


def detect(config: MaildirConfig) -> MailFormat:
    """The format, looked at where it is `auto`. Raises ConfigError for a path that is missing or no mail."""
    path = config.path
    try:
        if not path.exists():
            raise ConfigError(
                f"There is nothing at {path}.",
                code="maildir.missing",
                next_step="Correct path. Under systemd check ProtectHome and ReadOnlyPaths too.",
            )
        if config.format is not MailFormat.AUTO:
            _fits(config)
            return config.format
        if path.is_file():
            return MailFormat.EML if path.suffix.lower() == ".eml" else _if_mbox(path)
        if _is_maildir(path):
            return MailFormat.MAILDIR
        names = [item.name.lower() for item in path.iterdir() if not item.name.startswith(".")]
    except OSError as error:
        raise unreadable(path, error) from error
    if any(name.endswith(".mbox") for name in names) and not any(name.endswith(".eml") for name in names):
        return MailFormat.MBOX
    return MailFormat.EML


def unreadable(path: Path, error: OSError) -> ConfigError:
    """What is said about a place that may not be read."""
    return ConfigError(
        f"{path} cannot be read: {reason(error)}.",
        code="maildir.unreadable",
        next_step="Let the user that runs inbox-sync read it (its group, or setfacl -m u:USER:rX); "
        "under systemd check ProtectHome.",
    )


def _fits(config: MaildirConfig) -> None:
    path = config.path
    if config.format is MailFormat.MAILDIR and not _is_maildir(path) and not _maildirs_below(path):
        raise ConfigError(
            f"{path} is no Maildir: it has neither cur nor new.",
            code="maildir.no_maildir",
            next_step='Set path to the folder that holds cur, new and tmp, or format = "auto".',
        )
    if config.format is MailFormat.MBOX and path.is_file():
        _if_mbox(path)


def _if_mbox(path: Path) -> MailFormat:
    if not looks_like_mbox(path):
        raise ConfigError(
            f'{path} is no mbox file: it does not begin with "From ".',
            code="maildir.no_mbox",
            next_step='Set path to an mbox file, a Maildir, or a folder of .eml files (format = "eml" for a single mail).',
        )
    return MailFormat.MBOX


def _is_maildir(path: Path) -> bool:
    return (path / "cur").is_dir() or (path / "new").is_dir()


def _maildirs_below(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    return sorted(item.name for item in path.iterdir() if item.is_dir() and _is_maildir(item))


def places(config: MaildirConfig, mail_format: MailFormat) -> list[Place]:
    """The configured folders, those that do not exist last."""
    names = list(config.folders)
    if mail_format is MailFormat.MBOX and names == [INBOX] and config.path.is_dir():
        names = _mboxes_in(config.path)
    sent = list(config.sent) if config.sent is not None else _sent_of_itself(config, mail_format)
    made: dict[str, Place] = {}
    for name in (*names, *sent):
        role = StreamRole.SENT if name in sent else StreamRole.RECEIVED
        made.setdefault(name, Place(name, _locate(config.path, name, mail_format), role))
    return sorted(made.values(), key=lambda place: place.path is None)


def _mboxes_in(path: Path) -> list[str]:
    candidates = (item for item in sorted(path.iterdir()) if item.is_file() and not item.name.startswith("."))
    return [item.name for item in candidates if looks_like_mbox(item)]


def _sent_of_itself(config: MaildirConfig, mail_format: MailFormat) -> list[str]:
    if config.folders != (INBOX,):
        return [name for name in config.folders if name.lstrip(".").removesuffix(".mbox") in _SENT_NAMES]
    if config.path.is_file():
        return []
    for name in _SENT_NAMES:
        found = _locate(config.path, name, mail_format) or _locate(config.path, f"{name}.mbox", mail_format)
        if found is not None:
            return [found.name if mail_format is MailFormat.MBOX else name]
    return []


def _locate(path: Path, name: str, mail_format: MailFormat) -> Path | None:
    if name.upper() == INBOX and not (mail_format is MailFormat.MBOX and path.is_dir()):
        return path if mail_format is not MailFormat.MAILDIR or _is_maildir(path) else None
    base = path.parent if path.is_file() else path
    if mail_format is MailFormat.MAILDIR:
        dotted = base / f".{name.strip('/').removeprefix('.').replace('/', '.')}"
        return next((place for place in (dotted, base / name) if _is_maildir(place)), None)
    place = base / name
    wanted = place.is_file() if mail_format is MailFormat.MBOX else place.is_dir()
    return place if wanted else None


def open_folder(place: Place, mail_format: MailFormat, everything: Sequence[Place]) -> Folder:
    """The reader of a place that exists."""
    path = place.path
    if path is None:
        raise ValueError(f"{place.name} does not exist")
    if mail_format is MailFormat.MAILDIR:
        return MaildirFolder(path)
    if mail_format is MailFormat.MBOX:
        return MboxFile(path)
    others = (other.path for other in everything if other.path is not None and other.path != path)
    return EmlFolder(path, frozenset(others))


def missing(config: MaildirConfig, name: str, mail_format: MailFormat) -> ConfigError:
    """What is said about a configured folder that is not there."""
    base = config.path.parent if config.path.is_file() else config.path
    if mail_format is MailFormat.MAILDIR:
        there = [folder.removeprefix(".") for folder in _maildirs_below(base) if folder not in {"cur", "new", "tmp"}]
    else:
        wanted = Path.is_file if mail_format is MailFormat.MBOX else Path.is_dir
        there = sorted(item.name for item in base.iterdir() if wanted(item) and not item.name.startswith("."))
    near = get_close_matches(name.removeprefix("."), there, n=5, cutoff=0.5) or there[:5]
    listed = ", ".join(f'"{one}"' for one in near)
    return ConfigError(
        f'There is no folder "{name}" in {config.path}.',
        code="maildir.folder_missing",
        next_step=f"Correct folders or sent; {f'there are {listed}' if near else 'there are none besides INBOX'}.",
        folder=name,
    )
