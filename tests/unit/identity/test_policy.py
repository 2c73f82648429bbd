"""Settings become the policy of identity and of the guard, which must agree on the cookie."""

from __future__ import annotations

from datetime import timedelta

from tetrad.identity import IdentityPolicy
from tetrad.identity._settings import SETTINGS
from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.http import SETTINGS as HTTP
from tetrad.kit.http import GuardPolicy
from tetrad.kit.settings import Settings, load_settings


def settings(**environ: str) -> Settings:
    return load_settings(
        [INSTALLATION, HTTP, SETTINGS], environ={f"TETRAD_{name.upper()}": v for name, v in environ.items()}
    )


def test_the_defaults_are_those_of_the_policy_itself() -> None:
    assert IdentityPolicy.from_settings(settings()) == IdentityPolicy(cookie_name="tetrad_session_8401")


def test_each_setting_is_read() -> None:
    policy = IdentityPolicy.from_settings(
        settings(session_idle_hours="1", session_max_hours="2", sign_in_link_minutes="3", key_grace_hours="0")
    )
    assert policy.session_idle == timedelta(hours=1)
    assert policy.session_max == timedelta(hours=2)
    assert policy.link_life == timedelta(minutes=3)
    assert policy.key_grace == timedelta(0)


def test_guard_and_sign_in_agree_on_the_cookie_and_two_installations_do_not_meet() -> None:
    names = set()
    for port in ("8401", "9401"):
        chosen = settings(control_port=port)
        assert GuardPolicy.from_settings(chosen).cookie_name == IdentityPolicy.from_settings(chosen).cookie_name
        names.add(IdentityPolicy.from_settings(chosen).cookie_name)
    assert len(names) == 2


def test_links_lead_where_the_console_is() -> None:
    assert IdentityPolicy.from_settings(settings(host="0.0.0.0")).console_url == "http://127.0.0.1:8401"
    assert IdentityPolicy.from_settings(settings(host="::1", control_port="9")).console_url == "http://[::1]:9"
    assert IdentityPolicy.from_settings(settings(console_url="https://t.example/")).console_url == "https://t.example"
