"""`forebay models sign` and `forebay models verify`: sign versions, and check their signatures and files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from forebay.schemas.errors import ForebayError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_options import chosen_repository, repository_option
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.models.artefacts.progress import OnProgress
    from forebay.models.artefacts.trust import TrustPolicy

PASSWORD_VARIABLE = "FOREBAY_SIGNING_PASSWORD"  # noqa: S105 - a name


@click.command(
    name="sign",
    epilog=examples(
        ("forebay models sign churn@4 --key release.key", "write model.sig beside the model"),
        ("forebay models sign churn@4 --key new.key --replace", "sign with another key"),
        ("forebay models sign churn@4 --key release.key --certificate release.crt", "with a certificate"),
        ("openssl ecparam -name prime256v1 -genkey -noout -out release.key", "make a key"),
        ("openssl ec -in release.key -pubout -out release.pem", "its public key, for trust.keys"),
    ),
)
@config_options
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@click.option(
    "--key",
    required=True,
    metavar="FILE",
    help="Private key: elliptic curve P-256, P-384 or P-521, in PEM. The password of an encrypted one is asked for, or "
    f"read from {PASSWORD_VARIABLE}.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    help="The certificate of the key, then those between it and its authority, in PEM. They become part of the signature.",
)
@click.option("--replace", is_flag=True, help="Replace an existing signature.")
@repository_option
@json_option
def sign_command(
    source: ConfigSource,
    reference: str,
    key: str,
    certificate: str | None,
    replace: bool,
    repository: str | None,
    as_json: bool,
) -> None:
    """Sign a version: its manifest and all files that it lists, which are verified first.

    The signature has the format of OpenSSF Model Signing; its command `model_signing verify key` verifies it too.
    """
    folder = chosen_repository(source, repository)
    from forebay.models.artefacts.artefact import read_version
    from forebay.models.artefacts.repository import split_reference
    from forebay.models.artefacts.signing import sign_version
    from forebay.models.artefacts.signing_keys import read_private_key
    from forebay.stream.cli.models_render import download_bar

    name, version = split_reference(reference)
    with download_bar() as on_progress:
        done = sign_version(
            read_version(folder, name, version),
            read_private_key(key, read_password),
            certificates=certificate,
            replace=replace,
            on_progress=on_progress,
        )
    if as_json:
        echo_json(asdict(done))
    else:
        echo(f"{done.name}@{done.version}: signed by sha256:{done.fingerprint}, {done.place}")


@click.command(
    name="verify",
    epilog=examples(
        ("forebay models verify", "every version, by the policy of the configuration"),
        ("forebay models verify churn@4 --key release.pem", "one version, by one key"),
        ("forebay models verify --json | jq -r '.[] | select(.ok | not).model'", "for scripts"),
    ),
)
@config_options
@click.argument("references", nargs=-1, metavar="[NAME[@VERSION|@ALIAS]]...")
@click.option(
    "--key", metavar="FILE", help="The public key that must have signed. [default: trust.keys and trust.signatures]"
)
@repository_option
@json_option
def verify_command(
    source: ConfigSource, references: tuple[str, ...], key: str | None, repository: str | None, as_json: bool
) -> int:
    """Verify the signatures of versions, and all of their files.

    Without an argument, every version of every model is verified. Nothing is loaded. The exit status is 1 if a file differs
    from what the manifest states, or a signature is missing or does not count; where the policy is off,
    only files are verified.
    """
    settings = source.load().settings
    folder = settings.model.repository if repository is None else repository
    from forebay.models.artefacts.signing_keys import SigningKey
    from forebay.models.artefacts.signing_policy import Policy, SignatureRule, SigningPolicy
    from forebay.models.artefacts.trust import TrustPolicy
    from forebay.stream.cli.models_reading import all_versions
    from forebay.stream.cli.models_render import download_bar
    from forebay.stream.inference.loading import trust_policy

    trust = trust_policy(settings.trust)
    if key is not None:
        rules = [SignatureRule(Policy.ENFORCE)]
        trust = TrustPolicy(signing=SigningPolicy(rules, [SigningKey(Path(key).name, key)]))
    results = []
    for reference in list(references) or all_versions(folder):
        with download_bar() as on_progress:
            results.append(_verify(folder, reference, trust, on_progress))
        if not as_json:
            mark = "ok" if results[-1]["ok"] else "NOT VERIFIED"
            echo(f"{results[-1]['model']}: {mark}: {results[-1]['detail']}")
    if as_json:
        echo_json(results)
    elif not results:
        echo(f"{folder}: no model has been published there yet", err=True)
    return 0 if all(result["ok"] for result in results) else 1


def read_password() -> str:
    """Return the password of a private key, from the environment or the terminal."""
    import os

    stated = os.environ.get(PASSWORD_VARIABLE)
    return stated if stated is not None else str(click.prompt("Password of the key", hide_input=True, err=True))


def _verify(repository: str, reference: str, trust: TrustPolicy, on_progress: OnProgress | None) -> dict[str, object]:
    from forebay.models.artefacts.artefact import read_all_files, read_version
    from forebay.models.artefacts.repository import split_reference
    from forebay.models.artefacts.signing import read_signature_file
    from forebay.models.artefacts.signing_policy import SignatureState

    found: dict[str, object] = {
        "model": reference,
        "ok": False,
        "state": None,
        "key": "",
        "policy": None,
        "remedy": None,
    }
    try:
        name, chosen = split_reference(reference)
        stored = read_version(repository, name, chosen)
        number = stored.manifest.version
        verdict = trust.inspect(
            stored.manifest,
            repository=repository,
            manifest_sha256=stored.manifest_sha256,
            read_signature=lambda: read_signature_file(repository, name, number),
        )
        found |= {"model": f"{name}@{number}", "state": verdict.state, "key": verdict.key, "policy": verdict.policy}
        read_all_files(stored, on_progress)
    except ForebayError as error:
        return found | {"detail": error.message, "remedy": error.remedy}
    is_ok = verdict.state in (SignatureState.VALID, SignatureState.NOT_CHECKED)
    return found | {
        "ok": is_ok,
        "detail": f"files as the manifest states; signature {verdict.text}" if is_ok else verdict.text,
    }
