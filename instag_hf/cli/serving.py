"""The commands for servers: `doctor`, `serve`."""

import dataclasses
import json

import click

from instag_hf.cli.tagging import make_tagger, tagger_options
from instag_hf.rows import fit

SIGNS = {"ok": "ok   ", "warning": "warn ", "error": "ERROR"}


@click.command()
@click.argument("url", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.option("--replies", is_flag=True, help="Print the reply to each probe too.")
@tagger_options
def doctor(url: str | None, as_json: bool, replies: bool, **asked: str | bool | None) -> None:
    """Ask a tagger a dozen probes and say whether model, recipe and output fit.

    URL is the server's address; without it INSTAG_URL is, and without either the embedded tagger is asked. Exits with 1
    if something is wrong, and says what to do about it.

    \b
    Example:
        instag doctor
    """
    import os

    from instag_hf import serving

    if url:
        os.environ["INSTAG_URL"] = url
        asked["engine"] = asked["engine"] or os.environ.get("INSTAG_ENGINE") or "openai"
    tagger = make_tagger(**asked)
    found = serving.diagnose(tagger)
    if as_json:
        click.echo(json.dumps({"tagger": tagger.name, **dataclasses.asdict(found)}, ensure_ascii=False))
    else:
        click.echo(f"{tagger.name} on {found.server}")
        for finding in found.findings:
            click.echo(
                f"{SIGNS[finding.level]} {finding.what}" + (f"\n      {finding.remedy}" if finding.remedy else "")
            )
        if replies:
            for probe, reply in zip(serving.PROBES, found.replies, strict=False):
                click.echo(f"  {fit(probe.query, 60)} {fit(reply, 100).rstrip()}")
    if not found.healthy:
        raise SystemExit(1)


@click.command()
@click.argument("server", type=click.Choice(["tgi", "vllm", "sglang", "llamacpp"]))
@click.argument("model", default="")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Where it listens.")
@click.option("--run", "start", is_flag=True, help="Start it here, watch it, and end it with Ctrl-C.")
def serve(server: str, model: str, port: int, start: bool) -> None:
    """Print the command that serves MODEL on SERVER, and the variables to tag with it.

    MODEL is a Hub id or a folder, for llamacpp a GGUF file; without it the tagger that ships with us is served.

    \b
    Example:
        instag serve vllm OFA-Sys/InsTagger --port 8000
    """
    from instag_hf import serving

    words = serving.command(server, model, port=port)
    click.echo(serving.as_shell(words, serving.variables(server, model, port)))
    if start:
        raise SystemExit(serving.run(words, port=port))
