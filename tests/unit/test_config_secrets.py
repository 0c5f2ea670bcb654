from __future__ import annotations

import os
from pathlib import Path

import pytest

from sync.config.secrets import SecretError, SecretSource


def resolve(folder: Path, reference: object, **environ: str) -> str:
    return SecretSource(folder, environ).resolve(reference, "support_password").get_secret_value()


def complaint(folder: Path, reference: object, **environ: str) -> str:
    with pytest.raises(SecretError) as caught:
        resolve(folder, reference, **environ)
    return str(caught.value)


def secret_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_an_environment_variable_is_read(tmp_path: Path) -> None:
    assert resolve(tmp_path, {"env": "X"}, X="abc") == "abc"
    assert "X is not set" in complaint(tmp_path, {"env": "X"})


def test_exactly_one_newline_is_stripped(tmp_path: Path) -> None:
    secret_file(tmp_path, "abc\n\n")
    assert resolve(tmp_path, {"file": "secret"}) == "abc\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_others_can_read_is_refused_with_the_command_to_type(tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path, "abc", mode)
    assert complaint(tmp_path, {"file": str(path)}).endswith(f"chmod 600 {path}")


def test_a_credential_is_read_from_the_units_directory(tmp_path: Path) -> None:
    secret_file(tmp_path, "abc\n", 0o440)
    assert resolve(tmp_path, {"credential": "secret"}, CREDENTIALS_DIRECTORY=str(tmp_path)) == "abc"


def test_a_credential_outside_the_unit_says_how_commands_reach_it(tmp_path: Path) -> None:
    assert "through the running daemon" in complaint(tmp_path, {"credential": "secret"})


def test_a_credential_the_unit_lacks_says_what_to_add_to_it(tmp_path: Path) -> None:
    found = complaint(tmp_path, {"credential": "nope"}, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert "LoadCredential=nope:" in found


@pytest.mark.parametrize("name", ["../x", "a/b", ".."])
def test_a_credential_is_no_path(tmp_path: Path, name: str) -> None:
    assert "no name of a credential" in complaint(tmp_path, {"credential": name}, CREDENTIALS_DIRECTORY=str(tmp_path))


@pytest.mark.parametrize("text", ["", "\n", "  \n"])
def test_an_empty_secret_is_refused(tmp_path: Path, text: str) -> None:
    secret_file(tmp_path, text)
    assert "is empty" in complaint(tmp_path, {"file": "secret"})


@pytest.mark.parametrize(
    ("reference", "part"),
    [
        ("plain", '{ credential = "support_password" }'),
        (12, "must not stand in this file"),
        ({}, "exactly one"),
        ({"env": "A", "file": "b"}, "exactly one"),
        ({"creditential": "a"}, 'did you mean "credential"'),
        ({"env": ""}, "takes a name in quotes"),
        ({"env": 3}, "takes a name in quotes"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_line_to_write(tmp_path: Path, reference: object, part: str) -> None:
    assert part in complaint(tmp_path, reference)


def test_missing_folders_binaries_and_giants_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in complaint(tmp_path, {"file": "none"})
    assert "is not a file" in complaint(tmp_path, {"file": "/dev/null"})
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    assert "not UTF-8" in complaint(tmp_path, {"file": "binary"})
    path.write_bytes(b"x" * 100_000)
    assert "larger than" in complaint(tmp_path, {"file": "binary"})


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read everything")
def test_a_file_of_another_user_says_so(tmp_path: Path) -> None:
    secret_file(tmp_path, "abc", 0o000)
    assert "cannot be read by this user" in complaint(tmp_path, {"file": "secret"})


def test_only_the_form_is_checked_where_no_secret_is_needed(tmp_path: Path) -> None:
    source = SecretSource(tmp_path, {}, look_up=False)
    source.resolve({"credential": "x"}, "x")
    assert source.found == []
    with pytest.raises(SecretError):
        source.resolve("plain", "x")
