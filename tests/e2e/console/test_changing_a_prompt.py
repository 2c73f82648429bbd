"""An expert edits a prompt, sees it answer and proposes it; two people review it; it goes out, and back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from support.product import Product
from support.wait import wait_until

pytestmark = pytest.mark.browser
PROMPT = "assistant-system"
PEOPLE = {"Eva": "editor", "Rita": "reviewer", "Omar": "reviewer"}
GATE = {"schema": "tetrad.gate/1", "approvals": {"minimum": 2, "by": ["person"]}}


@dataclass
class Team:
    """A ref of its own, behind a gate that wants two approvals, and three people in browsers of their own."""

    product: Product
    ref: str
    author: Page
    reviewers: tuple[Page, Page]

    @property
    def target(self) -> str:
        return f"assistant/{self.ref}"

    def release(self) -> str:
        """Where the ref points now."""
        refs = self.product.control("GET", "/api/v1/projects/default/apps/assistant").json()["refs"]
        return str(next(ref["digest"] for ref in refs if ref["name"] == self.ref))

    def goto(self, page: Page, path: str) -> None:
        page.goto(f"{self.product.control_url}/p/default/{path}")


def person(product: Product, page: Page, name: str) -> Page:
    """Sign somebody in by a link that an admin made for them."""
    asked = {"email": f"{name.lower()}@example.org", "name": name, "role": PEOPLE[name], "project": "default"}
    link = product.control("POST", "/api/v1/sign-in-links", json=asked)
    assert link.status_code == 201, link.text
    page.goto(link.json()["url"])
    page.wait_for_url("**/p/default/overview*")
    return page


@pytest.fixture
def team(product: Product, new_page: Callable[..., Page]) -> Team:
    ref = f"reviewed-{os.getpid()}"
    product.cli(
        "release", "derive", "--from", "assistant/production", "--set", f"sampling.seed={os.getpid()}", "--ref", ref
    )
    gate = product.control(
        "PUT", "/api/v1/projects/default/gates", json={"pattern": f"assistant/{ref}", "policy": GATE}
    )
    assert gate.status_code in (200, 201), gate.text
    eva, rita, omar = (person(product, new_page(), name) for name in PEOPLE)
    return Team(product, ref, eva, (rita, omar))


def edit(team: Team, old: str, new: str) -> None:
    """Change a message of the prompt in its editor."""
    page = team.author
    team.goto(page, f"prompts/{PROMPT}")
    message = page.get_by_role("textbox", name="Text of message 1, system")
    expect(message).to_have_value(re.compile(re.escape(old)))
    message.fill(message.input_value().replace(old, new))
    expect(page.get_by_text("unsaved changes")).to_be_visible()
    expect(page.get_by_role("region", name="What this change means")).to_contain_text("This is a patch change")


def propose(team: Team, title: str, reason: str, outcome: str) -> int:
    """Propose what is in the editor for the ref; return the number of the change request."""
    page = team.author
    page.get_by_role("button", name="Propose change").click()
    form = page.get_by_role("dialog", name="Propose this change")
    form.get_by_label("For").click()
    page.get_by_role("option", name=team.target).click()
    form.get_by_label("Title").fill(title)
    form.get_by_label("Reason").fill(reason)
    form.get_by_label("Expected outcome").fill(outcome)
    form.get_by_role("button", name="Open change request").click()
    page.wait_for_url("**/changes/*")
    expect(page.get_by_role("heading", level=1)).to_contain_text(title)
    return int(page.url.rsplit("/", 1)[1])


def approve(team: Team, page: Page, number: int, comment: str) -> None:
    team.goto(page, f"changes/{number}")
    page.get_by_role("button", name="Approve", exact=True).click()
    form = page.get_by_role("dialog", name=f"Approve #{number}")
    form.get_by_label("Comment").fill(comment)
    form.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("region", name="Reviews")).to_contain_text(comment)


def merge(team: Team, number: int) -> None:
    page = team.author
    team.goto(page, f"changes/{number}")
    button = page.get_by_role("button", name=f"Merge into {team.target}")
    expect(button).to_have_attribute("aria-disabled", "false")
    button.click()
    page.get_by_role("dialog", name=f"Merge #{number}?").get_by_role("button", name="Merge").click()
    expect(page.get_by_text("Merged by Eva")).to_be_visible()


@pytest.mark.timeout(300)
def test_a_prompt_is_edited_run_proposed_reviewed_by_two_merged_and_rolled_back(
    team: Team, shot: Callable[[Page, str], None]
) -> None:
    page, (rita, omar) = team.author, team.reviewers
    before = team.release()

    # A first change goes all the way, so that there is a release that passed the gate to go back to.
    edit(team, "Answer the question directly", "Answer the question at once")
    first = propose(team, "Answer at once", "Answers begin with small talk", "The first sentence answers")
    for reviewer in (rita, omar):
        approve(team, reviewer, first, "Reads well")
    merge(team, first)
    gated = team.release()
    assert gated != before

    # The editor shows what a fault is and where, and what a change means for callers.
    team.goto(page, f"prompts/{PROMPT}")
    message = page.get_by_role("textbox", name="Text of message 1, system")
    kept = message.input_value()
    message.fill(kept.replace("{{tone}}", "{{mood}}"))
    expect(page.get_by_role("alert")).to_contain_text("the variable 'mood' is not declared")
    expect(page.get_by_role("button", name="Propose change")).to_have_attribute("aria-disabled", "true")
    message.fill(kept)

    # Old and new answer side by side, streamed from the app's own model.
    edit(team, "Answer the question at once", "Answer like a patient teacher")
    page.get_by_role("textbox", name="The user says").fill("Why is the sky blue?")
    page.get_by_label("Tokens of the answer, at most").fill("16")
    page.get_by_role("button", name="Run both").click()
    answers = page.get_by_role("region", name=re.compile("^Answer: "))
    expect(answers).to_have_count(2)
    for n in range(2):
        expect(answers.nth(n)).to_contain_text(re.compile("Tokens out[0-9]"), timeout=60_000)
        expect(answers.nth(n).get_by_role("link", name="Trace")).to_be_visible(timeout=30_000)
    shot(page, "prompt-played")
    traces = team.product.control("GET", "/api/v1/projects/default/traces?key=playground&user=Eva").json()["items"]
    assert len(traces) >= 2, "each of both runs is a trace of who ran them"

    # Leaving with an edit asks first.
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("dialog", name="Leave without saving?").get_by_role("button", name="Stay").click()
    expect(message).to_have_value(re.compile("patient teacher"))
    number = propose(team, "Sound like a teacher", "Children use the app", "Fewer questions are asked twice")

    # What is missing is said, to the author and to the reviewers.
    expect(page.get_by_role("button", name=f"Merge into {team.target}")).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("list", name="What a merge still needs")).to_be_visible()

    # A reviewer speaks about a line; the author answers and settles it.
    team.goto(rita, "changes?view=review")
    rita.get_by_role("link", name="Sound like a teacher").click()
    prompt = rita.get_by_role("region", name="Prompt, system")
    expect(prompt.locator("ins").first).to_contain_text("like")
    prompt.get_by_role("button", name="Comment on line 2").last.click()
    rita.get_by_role("textbox", name="Comment on line 2").fill("Is a teacher always patient?")
    rita.get_by_role("button", name="Comment", exact=True).click()
    expect(prompt.get_by_role("region", name="Thread of Rita")).to_contain_text("always patient")
    shot(rita, "change-thread")

    team.goto(page, f"changes/{number}")
    thread = page.get_by_role("region", name="Thread of Rita")
    thread.get_by_role("button", name="Reply").click()
    thread.get_by_role("textbox", name="Reply").fill("Ours is.")
    thread.get_by_role("button", name="Reply", exact=True).click()
    expect(thread).to_contain_text("Ours is.")
    thread.get_by_role("button", name="Resolve").click()
    expect(thread).to_contain_text("resolved")

    # Two approvals open the gate.
    approve(team, rita, number, "Fine with me")
    expect(page.get_by_role("region", name="Reviews")).to_contain_text("Fine with me", timeout=20_000)
    expect(page.get_by_role("button", name=f"Merge into {team.target}")).to_have_attribute("aria-disabled", "true")
    approve(team, omar, number, "And with me")
    shot(omar, "change-approved")
    merge(team, number)
    shot(page, "change-merged")
    merged = team.release()
    assert merged not in (before, gated)

    # And back, after the dialog said what goes back.
    team.goto(page, f"apps/assistant?release={merged}")
    page.get_by_role("button", name=f"Roll back {team.ref}…").click()
    dialog = page.get_by_role("dialog", name=f"Roll back {team.target}?")
    expect(dialog.get_by_role("list", name="What goes back")).to_contain_text("prompt")
    shot(page, "rollback")
    dialog.get_by_label("Why").fill("too long for adults")
    dialog.get_by_role("button", name="Roll back").click()
    expect(dialog).to_have_count(0)
    wait_until(lambda: team.release() == gated, what="the ref to be back")


def test_versions_are_listed_compared_and_labelled_and_the_address_restores_them(
    product: Product, console: Page
) -> None:
    text = product.control("GET", f"/api/v1/projects/default/prompts/{PROMPT}").json()["text"]
    name = f"compared-{os.getpid()}"
    text = text.replace(f"name: {PROMPT}", f"name: {name}")
    for change in ("helpful", "very helpful"):
        made = product.control(
            "POST",
            f"/api/v1/projects/default/prompts/{name}/versions",
            json={
                "text": text.replace(f"name: {PROMPT}", f"name: {name}").replace("helpful", change),
                "reason": change,
            },
        )
        assert made.status_code == 201, made.text
    page = console
    page.get_by_role("link", name="Prompts").click()
    page.get_by_role("textbox", name="Search prompts by name").fill(name)
    page.wait_for_url(f"**/prompts?q={name}")
    page.get_by_role("link", name=name).click()
    page.get_by_role("tab", name="Versions").click()
    rows = page.get_by_role("region", name="Versions").get_by_role("row")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("very helpful")
    page.get_by_role("button", name="Label 1.0.0").click()
    page.get_by_role("dialog").get_by_label("Label").fill("stable")
    page.get_by_role("dialog").get_by_role("button", name="Point it here").click()
    expect(rows.nth(2)).to_contain_text("stable")
    page.get_by_role("link", name=re.compile("^Compare")).click()
    page.wait_for_url("**tab=compare*from=1.0.0*")
    changed = page.get_by_role("region", name="system, message 1: changed")
    expect(changed.locator("ins")).to_contain_text("very")
    page.reload()
    expect(changed.locator("ins")).to_contain_text("very")
