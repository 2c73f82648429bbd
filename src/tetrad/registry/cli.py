"""Commands for gates and evidence. They call control's API; only a key file of the caller's is read here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.kernel import Conflict, Digest, InvalidInput, NotFound, TetradError, parse_json, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, digest_of, plain, show_rows, shown_time
from tetrad.kit.plain_yaml import parse_yaml
from tetrad.kit.seal import write_new_file
from tetrad.registry._evidence import (
    TEST_RESULT,
    Statement,
    read_envelope,
    read_predicate,
    read_statement,
    rfc3339,
    to_base64,
)
from tetrad.registry._run_cli import runs
from tetrad.registry._signing import (
    SigningKey,
    key_id,
    new_key,
    private_pem,
    public_bytes,
    public_pem,
    read_private_pem,
    sign_statement,
    verifying_keys,
)

__all__ = ["evidence", "gates", "runs"]

gates = typer.Typer(no_args_is_help=True, help="Gates: which evidence a ref needs before it moves.")
evidence = typer.Typer(
    no_args_is_help=True, help="Evidence: signed test results and approvals, and the keys that sign."
)

MAX_FILE_BYTES = 1 << 20
RefArgument = Annotated[str, typer.Argument(help="The ref, as APP/REF, such as assistant/production.")]
Pattern = Annotated[str, typer.Argument(help="A glob of refs, such as '*/production'; `**` crosses `/`.")]
Target = Annotated[str, typer.Argument(help="A whole digest, or APP/REF for what it points to.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")]


@gates.command("set")
def set_gate(
    pattern: Pattern,
    file: Annotated[Path, typer.Option("--file", "-f", help="The policy, in YAML or JSON.")],
    name: Annotated[str, typer.Option(help="What versions of the policy are called; from the pattern else.")] = "",
    reason: Reason = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Let refs that match a glob move only where a policy is met."""
    body = {"pattern": pattern, "policy": _document(file), "name": name, "reason": reason}
    made = ApiClient.from_environment().put(f"{_base(project)}/gates", body)
    said = f"{made['pattern']} asks {made['policy_name']}@{made['policy_version']} ({short(made['policy_digest'])})"
    typer.echo(json.dumps(made, indent=2, ensure_ascii=False) if as_json else said)


@gates.command("list")
def list_gates(project: InProject = "default", as_json: Json = False) -> None:
    """List the gates of a project."""
    columns = {
        "refs": lambda each: each["pattern"],
        "policy": lambda each: short(each["policy_digest"]) if each["policy_digest"] else "none",
        "asks": lambda each: each["problem"] or _asks(each["policy"]),
        "set": lambda each: shown_time(each["created_at"]),
        "by": lambda each: each["created_by"],
    }
    found = ApiClient.from_environment().get(f"{_base(project)}/gates")["items"]
    show_rows(found, columns, as_json, empty="no gates; `tetrad gate set '*/production' --file gate.yaml` makes one")


@gates.command("show")
def show_gate(pattern: Pattern, project: InProject = "default", as_json: Json = False) -> None:
    """Show a gate's policy."""
    found = ApiClient.from_environment().get(f"{_base(project)}/gates")["items"]
    for gate in found:
        if gate["pattern"] == pattern:
            typer.echo(json.dumps(gate if as_json else gate["policy"] or gate["problem"], indent=2, ensure_ascii=False))
            return
    raise NotFound(f"there is no gate for {pattern!r}", hint="`tetrad gate list`")


@gates.command("remove")
def remove_gate(
    pattern: Pattern,
    reason: Reason = "",
    project: InProject = "default",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take a gate away; refs that no other gate governs move freely again."""
    if not yes:
        typer.confirm(f"Remove the gate of {pattern}?", abort=True, err=True)
    asked = {"pattern": pattern, "reason": reason}
    ApiClient.from_environment().request("DELETE", f"{_base(project)}/gates", params=asked)
    typer.echo(f"removed the gate of {pattern}")


@gates.command("check")
def check_gate(ref: RefArgument, target: Target, project: InProject = "default", as_json: Json = False) -> None:
    """Say what the gates of a ref would answer to a move; fails where they would refuse."""
    client = ApiClient.from_environment()
    digest = _digest(client, project, target)
    found = client.get(f"{_base(project)}/gates/check", ref=ref, digest=digest)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif not found["governed"]:
        typer.echo(f"no gate governs {ref}")
    else:
        for gate in found["gates"]:
            _show_answer(gate)
    if not found["passed"]:
        raise typer.Exit(1)


@gates.command("break-glass")
def break_glass(
    ref: RefArgument,
    target: Target,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; it goes into the audit log.")],
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Let a ref move once past its gates, where their policies name you. The move itself is a command of its own."""
    client = ApiClient.from_environment()
    body = {"ref": ref, "digest": _digest(client, project, target), "reason": reason}
    made = client.post(f"{_base(project)}/gates/break-glass", body)
    said = f"{ref} may move once to {short(body['digest'])} until {shown_time(made['expires_at'])}"
    typer.echo(json.dumps(made, indent=2, ensure_ascii=False) if as_json else said)


@evidence.command("list")
def list_evidence(
    target: Annotated[str, typer.Argument(help="Only about this: a whole digest, or APP/REF.")] = "",
    predicate_type: Annotated[str, typer.Option("--type", help="Only of this predicate type.")] = "",
    project: InProject = "default",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List signed statements, the newest first, each verified now."""
    client = ApiClient.from_environment()
    subject = _digest(client, project, target) if target else None
    found = list(
        client.items(f"{_base(project)}/evidence", most=limit, subject=subject, predicate_type=predicate_type or None)
    )
    columns = {
        "evidence": lambda each: short(each["digest"]),
        "says": _says,
        "about": lambda each: each["subjects"][0]["name"] if each["subjects"] else "",
        "counts": lambda each: "yes" if each["counts"] else f"NO: {each['problem']}",
        "at": lambda each: shown_time(each["received_at"]),
        "by": lambda each: each["received_by"],
        "until": lambda each: shown_time(each["expires_at"]) or "always",
    }
    show_rows(found, columns, as_json, empty="no evidence")


@evidence.command("show")
def show_evidence(
    digest: Annotated[str, typer.Argument(help="The digest of the evidence.")], project: InProject = "default"
) -> None:
    """Print a statement, whether it counts, and its envelope, as JSON."""
    found = ApiClient.from_environment().get(f"{_base(project)}/evidence/{digest_of(digest)}")
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


@evidence.command("add")
def add_evidence(
    target: Annotated[str, typer.Argument(help="What was tested: a whole digest, or APP/REF.")] = "",
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A DSSE envelope that was signed already.")] = None,
    suite: Annotated[str, typer.Option(help="The suite that ran.")] = "",
    suite_digest: Annotated[str, typer.Option(help="The digest of the suite.")] = "",
    result: Annotated[str, typer.Option(help="PASSED, WARNED or FAILED.")] = "",
    metric: Annotated[list[str] | None, typer.Option(help="What it measured, as NAME=NUMBER; repeat it.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="How many cases ran.")] = 0,
    finished_at: Annotated[
        str, typer.Option(help="When the suite ended, such as 2026-12-31T00:00:00Z; now without it.")
    ] = "",
    key: Annotated[Path | None, typer.Option("--key", help="File with the private key that signs, in PEM.")] = None,
    expires_at: Annotated[str, typer.Option(help="When it stops to count, such as 2026-12-31T00:00:00Z.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Send a signed test result: an envelope from a file, or one that is made of options and signed here."""
    client = ApiClient.from_environment()
    if file is not None:
        envelope = _document(file)
    elif target and suite and result and key is not None:
        about = Digest(_digest(client, project, target))
        ended = finished_at or rfc3339(datetime.now(UTC))
        measured = {
            "name": suite, "digest": suite_digest, "metrics": _metrics(metric or []), "cases": cases,
            "finished_at": ended,
        }  # fmt: skip
        predicate = {"result": result, "configuration": [{"name": suite}], "suite": measured}
        read_predicate(TEST_RESULT, predicate)
        signer = read_private_pem(_text(key), at=datetime.now(UTC))
        envelope = sign_statement(signer, Statement(TEST_RESULT, (("release", about),), predicate)).document()
    else:
        raise InvalidInput(
            "there is nothing to send", hint="--file ENVELOPE, or TARGET --suite NAME --result PASSED --key FILE"
        )
    made = client.post(f"{_base(project)}/evidence", {"envelope": envelope, "expires_at": expires_at or None})
    typer.echo(json.dumps(made, indent=2, ensure_ascii=False) if as_json else made["digest"])


@evidence.command("verify")
def verify_evidence(
    what: Annotated[str, typer.Argument(help="The digest of evidence, or a file with an envelope.")],
    public_key: Annotated[
        Path | None, typer.Option(help="Verify a file by this public key alone, without the server.")
    ] = None,
    project: InProject = "default",
) -> None:
    """Verify a statement's signature; fails where it does not count."""
    if public_key is not None:
        envelope = read_envelope(_document(Path(what)))
        raw = public_bytes(_text(public_key))
        key = SigningKey(key_id(raw), "", str(public_key), to_base64(raw), datetime.now(UTC), "")
        if not verifying_keys(envelope, [key]):
            raise Conflict(
                f"{what!r} is not signed by this key", code="signature_wrong", hint="it may have been changed"
            )
        statement = read_statement(envelope.body())
        typer.echo(f"signed by {key.id[:16]}: {statement.predicate_type} about {statement.subjects[0][1]}")
        return
    digest = str(read_envelope(_document(Path(what))).digest) if Path(what).is_file() else digest_of(what)
    found = ApiClient.from_environment().get(f"{_base(project)}/evidence/{digest}")
    if not found["counts"]:
        raise TetradError(f"{digest} does not count: {found['problem']}", code="evidence_does_not_count", status=409)
    until = f" until {shown_time(found['expires_at'])}" if found["expires_at"] else ""
    typer.echo(f"counts{until}: {_says(found)}, signed by {found['key_name']} ({found['key_id'][:16]})")


@evidence.command("approve")
def approve(
    target: Target,
    part: Annotated[
        list[str] | None, typer.Option(help="Only KIND or KIND:NAME, such as prompt:system; repeat it.")
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Reject it instead.")] = False,
    comment: Annotated[str, typer.Option("--comment", "-m", help="What others should read.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Approve or reject a release, or only parts of it, as yourself."""
    client = ApiClient.from_environment()
    parts = [dict(zip(("kind", "name"), each.partition(":")[::2], strict=True)) for each in part or []]
    body = {
        "digest": _digest(client, project, target),
        "decision": "reject" if reject else "approve",
        "parts": parts,
        "comment": comment,
    }
    made = client.post(f"{_base(project)}/approvals", body)
    typer.echo(json.dumps(made, indent=2, ensure_ascii=False) if as_json else made["digest"])


@evidence.command("revoke")
def revoke_evidence(
    digest: Annotated[str, typer.Argument(help="The digest of the evidence.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; it goes into the audit log.")],
    project: InProject = "default",
) -> None:
    """Take a statement back: it stays to be read, and counts no more."""
    path = f"{_base(project)}/evidence/{digest_of(digest)}/revoke"
    typer.echo(f"revoked {short(ApiClient.from_environment().post(path, {'reason': reason})['digest'])}")


@evidence.command("keys")
def list_keys(project: InProject = "default", as_json: Json = False) -> None:
    """List the keys whose statements count, the installation's among them."""
    columns = {
        "key": lambda each: each["id"][:16],
        "name": lambda each: each["name"],
        "of": lambda each: each["of"],
        "states": lambda each: ", ".join(each["types"]) or "anything",
        "since": lambda each: shown_time(each["created_at"]),
        "state": _key_state,
    }
    found = ApiClient.from_environment().get(f"{_base(project)}/evidence-keys")["items"]
    show_rows(found, columns, as_json, empty="no keys")


@evidence.command("new-key")
def make_key(file: Annotated[Path, typer.Argument(help="Where the private key goes; it must not exist.")]) -> None:
    """Make a private key in a file of mode 0600 and print its public half, for `tetrad evidence trust`."""
    made = new_key("", file.name, at=datetime.now(UTC), by="")
    if not write_new_file(file, private_pem(made).encode("ascii")):
        raise Conflict(f"{str(file)!r} is there already", hint="choose another name", code="file_exists")
    typer.echo(public_pem(made.public), nl=False)


@evidence.command("trust")
def trust_key(
    name: Annotated[str, typer.Argument(help="Whose it is, such as `ci`.")],
    file: Annotated[Path, typer.Argument(help="The public key in PEM.")],
    types: Annotated[list[str] | None, typer.Option("--type", help="What it may state; repeat it.")] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Let a key of others state test results or provenance in a project."""
    body = {"name": name, "public_key": _text(file), "types": types}
    made = ApiClient.from_environment().post(f"{_base(project)}/evidence-keys", body)
    typer.echo(json.dumps(made, indent=2) if as_json else made["id"])


@evidence.command("revoke-key")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The key's id, or its first digits.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; it goes into the audit log.")],
    project: InProject = "default",
) -> None:
    """Trust a key no more; what it stated before now stands."""
    client = ApiClient.from_environment()
    known = client.get(f"{_base(project)}/evidence-keys")["items"]
    found = [each for each in known if len(key) >= 8 and each["id"].startswith(key)]
    if len(found) != 1:
        raise NotFound(f"no single key begins with {key!r}", hint="`tetrad evidence keys` shows them")
    base = "/api/v1" if found[0]["of"] == "installation" else _base(project)
    client.post(f"{base}/evidence-keys/{found[0]['id']}/revoke", {"reason": reason})
    typer.echo(f"revoked {found[0]['id'][:16]} ({found[0]['name']})")


@evidence.command("rotate")
def rotate_key() -> None:
    """Let a new key sign for the installation; what older ones signed stands."""
    made = ApiClient.from_environment().post("/api/v1/evidence-keys/rotate")
    typer.echo(f"{made['id'][:16]} signs from now on")


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}"


def _digest(client: ApiClient, project: str, text: str) -> str:
    if "/" not in text:
        return digest_of(text)
    for ref in client.items(f"{_base(project)}/refs", most=200, prefix=text):
        if ref["name"] == text:
            return str(ref["digest"])
    raise NotFound(f"there is no ref {text!r}", hint="`tetrad ref list` shows them")


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise InvalidInput(f"{str(file)!r} is too large", hint=f"at most {MAX_FILE_BYTES} bytes")
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{str(file)!r} cannot be read: {error}", hint="name a text file") from None


def _document(file: Path) -> dict[str, Any]:
    text = _text(file)
    if file.suffix in (".yaml", ".yml"):
        value: object = parse_yaml(text, where=str(file)).value
    else:
        value = parse_json(text, where=str(file))
    if not isinstance(value, dict):
        raise InvalidInput(f"{str(file)!r} holds no object", hint="it begins with names of fields")
    return value


def _metrics(texts: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise InvalidInput(f"{text[:80]!r} is no metric", hint="write NAME=NUMBER, such as accuracy=0.93") from None
    return found


def _asks(policy: Mapping[str, Any]) -> str:
    approvals = policy["approvals"]
    said = [f"suite {each['suite']}" for each in policy["suites"]]
    said += [f"{approvals['minimum']} approvals"] if approvals["minimum"] else []
    said += [f"an owner of {each['part']}" for each in approvals["owners"]]
    said += ["licences"] if policy["licences"] is not None else []
    return ", ".join(said) or "nothing"


def _says(each: Mapping[str, Any]) -> str:
    predicate = each["predicate"]
    kind = each["predicate_type"].split("/")[-2] if "/" in each["predicate_type"] else each["predicate_type"]
    outcome = predicate.get("result") or predicate.get("decision") or predicate.get("verificationResult") or ""
    suite = predicate.get("suite")
    return " ".join(filter(None, (kind, suite.get("name") if isinstance(suite, dict) else "", str(outcome))))


def _key_state(key: Mapping[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {shown_time(key['revoked_at'])}"
    return f"retired {shown_time(key['retired_at'])}" if key["retired_at"] else "signs"


def _show_answer(gate: Mapping[str, Any]) -> None:
    typer.echo(f"{gate['pattern']}: {'would let it pass' if gate['passed'] else 'would refuse'}")
    if gate["problem"]:
        typer.echo(f"  {plain(gate['problem'])}")
    for condition in gate["conditions"]:
        typer.echo(f"  {'ok ' if condition['passed'] else 'NO '} {plain(condition['reason'])}")
    for each in gate["discounted"]:
        typer.echo(f"  does not count: {short(each['digest'])}, {plain(each['problem'])}")
