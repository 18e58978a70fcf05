"""The commands for servers: `doctor`, `serve`."""

import dataclasses
import json
import os
from typing import TYPE_CHECKING

import click

from instag_hf.cli.tagging import make_tagger, tagger_options
from instag_hf.rows import fit

if TYPE_CHECKING:
    from instag_hf.serving import Finding

SIGNS = {"ok": "ok   ", "missing": "-    ", "warning": "warn ", "error": "ERROR"}


@click.command()
@click.argument("url", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.option("--replies", is_flag=True, help="Print the reply to each probe too.")
@tagger_options
def doctor(url: str | None, as_json: bool, replies: bool, **asked: str | bool | None) -> None:
    """Say what is installed, where things are and what is missing; with URL or an engine, ask that a dozen probes.

    URL is a server's address; with an option that names a tagger alone, such as --engine, it is at INSTAG_URL. The
    probes tell whether model, recipe and output fit. Exits with 1 if something keeps the tagger from tagging, and says
    what to do about it.

    \b
    Example:
        instag doctor
    """
    if url or replies or any(value is not None for value in asked.values()):
        able = _ask(url, as_json, replies, asked)
    else:
        able = _look(as_json)
    if not able:
        raise SystemExit(1)


def _look(as_json: bool) -> bool:
    from instag_hf.serving.installed import look

    found = look()
    if as_json:
        parts = {part.name: [dataclasses.asdict(finding) for finding in part.findings] for part in found.parts}
        click.echo(json.dumps(parts, ensure_ascii=False))
        return found.able
    for part in found.parts:
        click.echo(part.name)
        for finding in part.findings:
            _show(finding)
    return found.able


def _ask(url: str | None, as_json: bool, replies: bool, asked: dict[str, str | bool | None]) -> bool:
    from instag_hf import serving

    if url:
        os.environ["INSTAG_URL"] = url
        asked["engine"] = asked["engine"] or os.environ.get("INSTAG_ENGINE") or "openai"
    tagger = make_tagger(**asked)
    found = serving.diagnose(tagger)
    if as_json:
        click.echo(json.dumps({"tagger": tagger.name, **dataclasses.asdict(found)}, ensure_ascii=False))
        return found.healthy
    click.echo(f"{tagger.name} on {found.server}")
    for finding in found.findings:
        _show(finding)
    if replies:
        for probe, reply in zip(serving.PROBES, found.replies, strict=False):
            click.echo(f"  {fit(probe.query, 60)} {fit(reply, 100).rstrip()}")
    return found.healthy


def _show(finding: "Finding") -> None:
    click.echo(f"{SIGNS[finding.level]} {finding.what}" + (f"\n      {finding.remedy}" if finding.remedy else ""))


@click.command()
@click.argument("server", type=click.Choice(["tgi", "vllm", "sglang", "llamacpp"]))
@click.argument("model", default="")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Where it listens.")
@click.option("--run", "start", is_flag=True, help="Start it here, watch it, and end it with Ctrl-C.")
def serve(server: str, model: str, port: int, start: bool) -> None:
    """Print the command that serves MODEL on SERVER, and the variables to tag with it.

    MODEL is a Hub id or a folder; for llamacpp it may be a GGUF file, or left out for the tagger that ships with us.

    \b
    Example:
        instag serve vllm OFA-Sys/InsTagger --port 8000
    """
    from instag_hf import serving

    words = serving.command(server, model, port=port)
    settings, recipe = serving.variables(server, model, port), serving.recipe_to_name(server, model)
    click.echo(serving.as_shell(words, settings, recipe))
    if start:
        raise SystemExit(serving.run(words, port=port))
