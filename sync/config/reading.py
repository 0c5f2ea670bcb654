"""The configuration file as text, or a sentence about why it cannot be read."""

from __future__ import annotations

from pathlib import Path

from sync.errors import ConfigError

PATH_VARIABLE = "INBOX_SYNC_CONFIG"
FILE_MAX_BYTES = 4 * 1024 * 1024


def text_of(path: Path) -> str:
    """The file's text. Raises ConfigError: `config.missing`, `config.unreadable`."""
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file {path}",
            code="config.missing",
            next_step=f"write one (inbox-sync config example > {path}), or name another: inbox-sync --config FILE …,"
            f" or {PATH_VARIABLE}=FILE",
        ) from None
    except PermissionError:
        raise ConfigError(
            f"the configuration file {path} cannot be read by this user",
            code="config.unreadable",
            next_step="run the command as the user of the service (sudo -u inbox-sync inbox-sync …)",
        ) from None
    except OSError as error:
        raise ConfigError(
            f"the configuration file {path} cannot be read: {error.strerror}",
            code="config.unreadable",
            next_step="name a TOML file: inbox-sync --config FILE …",
        ) from None
    if len(content) > FILE_MAX_BYTES:
        raise ConfigError(f"{path} is larger than {FILE_MAX_BYTES} bytes: it is no configuration file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} has 1 problem",
            next_step="save the file as UTF-8",
            problems=(f"{path.name}:{line}: this is not UTF-8 text",),
        ) from None
