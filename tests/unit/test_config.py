from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sync.config import DEFAULT_PATH, LoadedConfig, default_path, load, load_core
from sync.errors import ConfigError
from tests.unit.config_file import ENVIRON, GOOD, INBOX, SOURCE, Postbox, registry, write


def loaded(tmp_path: Path, text: str) -> LoadedConfig:
    return load(write(tmp_path, text), registry=registry(), environ=ENVIRON)


def problems(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert caught.value.exit_code == 78
    return caught.value.problems


def with_line(text: str, line: str) -> str:
    """`text` and one more key at its end, in whatever section that is."""
    return f"{text}{line}\n"


def test_ten_lines_give_settings_secrets_and_a_connector(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD)
    assert config.settings.inbox["main"].site_id.startswith("1111")
    key = config.settings.inbox["main"].api_key
    assert key is not None
    assert key.get_secret_value() == "key-value"
    source = config.sources["support"]
    assert source.inbox == "main"
    assert isinstance(source.build(), Postbox)
    assert config.connectors["support"].password.get_secret_value() == "pass-word"  # type: ignore[attr-defined]
    assert {secret.get_secret_value() for secret in config.secret_values} == set(ENVIRON.values())


def test_one_inbox_need_not_be_named_and_is_filled_in(tmp_path: Path) -> None:
    assert loaded(tmp_path, GOOD).settings.sources["support"].inbox == "main"


def test_misspelt_keys_are_told_with_their_line_and_the_near_name(tmp_path: Path) -> None:
    text = GOOD.replace("host =", "hots =").replace("site_id", "siteid")
    assert problems(tmp_path, text) == (
        'config.toml:2: inbox.main.siteid: unknown key (did you mean "site_id"?)',
        'config.toml:6: sources.support.hots: unknown key (did you mean "host"?)',
    )


@pytest.mark.parametrize(
    ("section", "meant"),
    [
        ("[legder]", "[ledger]"),
        ("[deamon]", "[daemon]"),
        ("[sourcs.x]", "[sources.x]"),
        ("[source.x]", "[sources.x]"),
        ("[inboxes.main]", "[inbox.main]"),
        ("[Inbox.main]", "[inbox.main]"),
    ],
)
def test_misspelt_sections_are_told_with_the_near_name(tmp_path: Path, section: str, meant: str) -> None:
    found = problems(tmp_path, f"{GOOD}{section}\n")
    assert any(line.startswith("config.toml:9: ") and f"(did you mean {meant}?)" in line for line in found), found


@pytest.mark.parametrize(
    ("line", "key", "reason"),
    [
        ("port = 99999", "port", "must be at most 65535"),
        ('port = "993"', "port", "must be a number without quotes"),
        ("port = true", "port", "must be a number, not true or false"),
        ("port = 1.5", "port", "must be a whole number"),
        ('tls = "yes"', "tls", "must be true or false, without quotes"),
        ('folders = "INBOX"', "folders", 'must be a list: ["…", "…"]'),
        ("folders = [1]", "folders[0]", 'must be a text in quotes: "…"'),
        ('every = "60x"', "every", "no duration"),
        ("every = 0", "every", "must be at least 0.05"),
        ('start = "tomorrow"', "start", "no start"),
        ('duplicates = "twice"', "duplicates", 'must be one of "once" or "each"'),
        ("max_age_days = inf", "max_age_days", "must be at most 36500"),
        ("max_age_days = nan", "max_age_days", "must be"),
        ("folders = []", "folders", "at least 1 of them"),
        ('badge = ""', "badge", ""),
    ],
)
def test_wrong_values_are_told_with_key_and_reason(tmp_path: Path, line: str, key: str, reason: str) -> None:
    text = with_line(GOOD, line)
    if not reason:
        loaded(tmp_path, text)
        return
    (found,) = problems(tmp_path, text)
    assert found.startswith(f"config.toml:9: sources.support.{key}: ")
    assert reason in found


def test_every_problem_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        INBOX.replace('{ env = "KEY" }', '"plain"')
        + 'time_zone = "Europe/Berln"\nown_addresses = ["example.com", "*@*", "ok@example.com"]\n'
        + SOURCE.replace("host =", "hots =").replace('"PASSWORD"', '"NOPE"')
        + "port = 0\nx =\n"
        + '[sources.second]\nconnector = "postbos"\n'
    )
    found = problems(tmp_path, text)
    lines = [int(line.split(":")[1]) for line in found]
    assert lines == sorted(lines)
    expected = (
        "api_key: a secret must not",
        'did you mean "Europe/Berlin"',
        '"*@example.com" for all',
        "every sender",
        'did you mean "host"',
        "NOPE is not set",
        "at least 1",
        "no value here",
        'did you mean "postbox"',
    )
    for part in expected:
        assert any(part in line for line in found), part
    assert len(found) == 9


def test_two_sources_with_one_name_are_told_with_both_lines(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, GOOD + SOURCE)
    assert found == (
        "config.toml:9: sources.support: there is a [sources.support] already in line 4:"
        " two of them cannot have one name; rename one source"
    )


def test_a_section_with_a_faulty_line_is_not_said_to_lack_what_stands_in_it(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, GOOD.replace('host = "mail.example.com"', "host = mail.example.com"))
    assert "config.toml:6" in found
    assert "a text needs quotes" in found


def test_an_unknown_connector_stops_its_source_only(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD + '[sources.other]\nconnector = "postbos"\nwhatever = 1\n')
    assert list(config.sources) == ["support"]
    error = config.failed_sources["other"]
    assert error.code == "connector.unknown"
    assert error.sentence.startswith("config.toml:10: sources.other.connector: ")
    assert 'did you mean "postbox"' in error.sentence
    assert "installed are: broken, postbox" in error.next_step
    assert config.settings.sources["other"].inbox == "main"


def test_a_connector_that_cannot_be_imported_stops_its_source_only(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD + '[sources.other]\nconnector = "broken"\n')
    assert list(config.sources) == ["support"]
    error = config.failed_sources["other"]
    assert error.code == "connector.broken"
    assert "ImportError: no library called libpost" in error.sentence


def test_a_connector_that_chokes_on_its_settings_stops_its_source_only(tmp_path: Path) -> None:
    second = SOURCE.replace("support]", "other]").replace("support@example.com", "explode")
    config = loaded(tmp_path, GOOD + second)
    assert list(config.sources) == ["support"]
    assert "RuntimeError" in config.failed_sources["other"].sentence


def test_a_file_whose_sources_have_all_failed_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, INBOX + '[sources.other]\nconnector = "broken"\n')
    assert "config.toml:5: sources.other.connector:" in found


def test_with_several_inboxes_a_source_must_say_which(tmp_path: Path) -> None:
    second = INBOX.replace("main", "second")
    (found,) = problems(tmp_path, INBOX + second + SOURCE)
    assert 'write inbox = "main" (or "second")' in found
    (found,) = problems(tmp_path, INBOX + second + SOURCE + 'inbox = "secnd"\n')
    assert 'config.toml:12: sources.support.inbox: there is no [inbox.secnd] (did you mean "second"?)' in found


def test_no_inbox_at_all_is_told_with_what_to_add(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "")
    assert "add a section [inbox.main]" in found


def test_keys_outside_of_a_named_section_are_told_where_they_belong(tmp_path: Path) -> None:
    found = problems(tmp_path, '[inbox]\nsite_id = "x"\n[sources]\nconnector = "postbox"\n')
    assert "put it below [inbox.main]" in found[0]
    assert "put it below [sources.support]" in found[1]


def test_incomplete_credentials_of_an_app_are_told(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, '[inbox.main]\nsite_id = "x"\nauth = "app"\napp_id = "a"\n')
    assert found == 'config.toml:1: inbox.main: auth = "app" needs app_secret, instance_id'


def test_the_placeholder_of_the_example_is_refused_kindly(tmp_path: Path) -> None:
    text = GOOD.replace("11111111-1111-4111-8111-111111111111", "…")
    (found,) = problems(tmp_path, text)
    assert found.startswith("config.toml:2: inbox.main.site_id: still holds the placeholder")
    assert "dashboard" in found


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://127.0.0.1:8025", ""),
        ("http://[::1]:8025", ""),
        ("http://localhost:1", ""),
        ("https://www.wixapis.com", ""),
        ("http://inbox.example.com", "write https://inbox.example.com"),
        ("http://127.0.0.1.example.com", "readable over the network"),
        ("https://user:pw@example.com", "no user name and no password"),
    ],
)
def test_http_goes_to_this_machine_only(tmp_path: Path, url: str, complaint: str) -> None:
    text = INBOX + f'base_url = "{url}"\n' + SOURCE
    if not complaint:
        loaded(tmp_path, text)
        return
    (found,) = problems(tmp_path, text)
    assert complaint in found


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("sqlite:////var/lib/x.db", ""),
        ("postgresql+psycopg://h/db", ""),
        ("postgresql://h/db", ""),
        ("postgres://h/db", "postgresql+psycopg://"),
        ("mysql://h/db", 'no database "mysql"'),
        ("sqlite://", "must survive a restart"),
        ("sqlite:///x.db", "current folder"),
        ("/var/lib/x.db", "no database URL"),
    ],
)
def test_the_ledgers_url_is_looked_at(tmp_path: Path, url: str, complaint: str) -> None:
    text = f'[ledger]\nurl = "{url}"\n{GOOD}'
    if not complaint:
        loaded(tmp_path, text)
        return
    (found,) = problems(tmp_path, text)
    assert found.startswith("config.toml:2: ledger.url: ")
    assert complaint in found


def test_no_value_of_a_misplaced_secret_is_ever_repeated(tmp_path: Path) -> None:
    text = GOOD.replace('{ env = "PASSWORD" }', '"hunter2"') + 'port = "hunter2"\npasword = "hunter2"\n'
    assert "hunter2" not in " ".join(problems(tmp_path, text))


def test_without_secrets_nothing_is_looked_up(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD), registry=registry(), secrets=False, environ={})
    assert list(config.sources) == ["support"]
    assert config.secret_values == ()


def test_without_secrets_no_validator_complains_about_one(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("support@example.com", "pin"))
    with pytest.raises(ConfigError) as caught:
        load(path, registry=registry(), environ=ENVIRON)
    assert "four digits" in caught.value.problems[0]
    config = load(path, registry=registry(), secrets=False, environ={})
    assert list(config.sources) == ["support"]


def test_what_most_operators_do_not_mean_is_noted(tmp_path: Path) -> None:
    own = 'own_addresses = ["a@example.com"]\n'
    notes = loaded(tmp_path, INBOX + own + INBOX.replace("main", "second") + SOURCE + 'inbox = "main"\n').notes
    assert len(notes) == 2
    assert "inbox.second names no own_addresses" in notes[0]
    assert "inbox.main and inbox.second are the same site" in notes[1]
    url = '[ledger]\nurl = "postgresql+psycopg://me:hunter2@db/x"\n'
    (note,) = loaded(tmp_path, url + INBOX + own + SOURCE).notes
    assert "password file" in note
    assert "hunter2" not in note


def test_dates_and_durations_are_understood(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD + 'every = "5m"\nstart = 2026-11-01\n')
    assert config.settings.sources["support"].every == 300
    assert config.settings.sources["support"].start == datetime(2026, 11, 1, tzinfo=UTC)


def test_secrets_in_nested_tables_are_resolved_and_located(tmp_path: Path) -> None:
    good = GOOD + 'proxies = [{ host = "a", password = { env = "KEY" } }]\n'
    proxies = loaded(tmp_path, good).connectors["support"].proxies  # type: ignore[attr-defined]
    assert proxies[0].password.get_secret_value() == "key-value"
    (found,) = problems(tmp_path, GOOD + '[[sources.support.proxies]]\nhost = "a"\npassword = "x"\n')
    assert found.startswith("config.toml:11: sources.support.proxies[0].password: a secret must not stand in this file")


def test_the_core_can_be_read_while_the_rest_is_faulty(tmp_path: Path) -> None:
    path = write(tmp_path, '[ledger]\nurl = "sqlite:////x.db"\n[sources.support]\nnonsense = 1\n')
    assert load_core(path).ledger.url == "sqlite:////x.db"


def test_a_missing_file_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.toml", registry=registry())
    assert caught.value.code == "config.missing"
    assert "inbox-sync config example" in caught.value.next_step


def test_a_file_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'[inbox.main]\nsite_id = "\xe9"\n')
    with pytest.raises(ConfigError) as caught:
        load(path, registry=registry())
    assert caught.value.problems == ("config.toml:2: this is not UTF-8 text",)


def test_a_byte_order_mark_and_crlf_are_no_faults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert list(load(path, registry=registry(), environ=ENVIRON).sources) == ["support"]


def test_the_path_comes_from_the_environment_or_is_the_default() -> None:
    assert default_path({"INBOX_SYNC_CONFIG": "/x/y.toml"}) == Path("/x/y.toml")
    assert default_path({}) == DEFAULT_PATH
    assert default_path({"INBOX_SYNC_CONFIG": ""}) == DEFAULT_PATH


def test_a_file_without_sources_is_noted(tmp_path: Path) -> None:
    assert any("no source" in note for note in loaded(tmp_path, INBOX).notes)
