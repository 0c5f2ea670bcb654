"""The configuration file: TOML in, checked settings out, every problem at once with its line.

`load` is all that most of the program needs. `locate` finds lines, `secrets` resolves references, `explain` puts
pydantic's errors into words, `checks` holds what no type can say, `schema` and `example` write the two files that help
an operator's editor and an operator.
"""

from __future__ import annotations

from sync.config.load import DEFAULT_PATH, LoadedConfig, SourceConfig, default_path, load, load_core

__all__ = ["DEFAULT_PATH", "LoadedConfig", "SourceConfig", "default_path", "load", "load_core"]
