"""What limits can be told."""

from __future__ import annotations

from tetrad.kit.settings import Setting, SettingsTable

MAX_RULES = Setting("limits_per_project", int, 1000, "Limits and budgets that a project may have.", minimum=1)
KEEP_DAYS = Setting(
    "limits_keep_days", int, 400, "Days for which the accounts of ended budget periods are kept.", minimum=31
)
MAX_ACCOUNTS = Setting(
    "limits_accounts_per_budget",
    int,
    100_000,
    "Subjects of which one budget keeps accounts in a period; the calls of more are refused.",
    minimum=1,
)
WAIT_S = Setting(
    "limits_wait_s", float, 2.0, "Longest wait of a call for an answer about its limits.", minimum=0.01, maximum=60
)
ASSUMED_OUTPUT = Setting(
    "limits_assumed_output_tokens",
    int,
    1024,
    "Tokens of output set aside for a call that states no bound of its own.",
    minimum=1,
)
URL = Setting(
    "limits_url",
    str,
    "",
    "Valkey or Redis that gateways share rates and calls at once in, such as redis://host:6379/0; empty: control does.",
    secret=True,
)

SETTINGS = SettingsTable("Limits and budgets", (MAX_RULES, MAX_ACCOUNTS, KEEP_DAYS, WAIT_S, ASSUMED_OUTPUT, URL))
