"""Measure what the audit costs: making the blocks of a commit in a worker, and verifying them.

python -m benchmarks.audit [--rows 512] [--blocks 1000] [--json]

The worker's part is compared with the other stages of `benchmarks.stages`, measured in turn in the same process. Times are CPU
times; the best round counts for the share of a stage, and all blocks once for the verification.
"""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.stages import Bench
from forebay.stream.access.policy import AccessPolicy
from forebay.stream.access.policy_history import PolicyHistory
from forebay.stream.access.rules import Rules
from forebay.stream.audit.chain import ChainHead, Place
from forebay.stream.audit.chain_writer import ChainWriter, CheckpointPolicy
from forebay.stream.audit.signing import Signer, TrustedKeys
from forebay.stream.audit.tally import OutcomeTally
from forebay.stream.audit.verifier import ChainVerifier
from forebay.stream.bench.host_info import describe_host
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.outputs import Outgoing, OutputTopic
from forebay.stream.core.records import BatchResult, Chunk, TopicPartition
from forebay.stream.output.emitter import Emission
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.audit_recorder import AuditRecorder
from forebay.stream.pipeline.audit_rows import AuditContent
from forebay.stream.pipeline.audited_access import AuditedAccess, principal_hash
from tests.access.issuer import JULY_S, sign, verifier

KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))
POLICY: Final = CheckpointPolicy(10_000, 1_000)
NUM_TOKENS: Final = 10
AUDIT: Final = TopicPartition("audit", 0)


def recorder(content: AuditContent, access: AuditedAccess | None = None) -> AuditRecorder:
    """Return a recorder whose checkpoints are signed."""
    chains = ChainWriter("forebay", worker="bench", signer=Signer(KEY), policy=POLICY, max_bytes=1 << 20)
    return AuditRecorder(chains, OutputTopic("audit", 1, 1 << 20), content, clock=SystemClock(), access=access)


def with_tokens(result: BatchResult) -> tuple[BatchResult, AccessPolicy]:
    """Return a result whose events have tokens, and the policy that knows them."""
    tokens = [sign("EdDSA", sub=f"team-a/{number}", exp=JULY_S * 2) for number in range(NUM_TOKENS)]
    chunks = []
    for chunk in result.batch.chunks:
        assert isinstance(chunk, Chunk)
        records: Any = chunk.records
        headers = [[("forebay-principal", bytes(bytearray(tokens[row % NUM_TOKENS])))] for row in range(len(records))]
        chunks.append(replace(chunk, records=type(records)(records.buffers, records.fields_7N, headers)))
    batch = replace(result.batch, chunks=tuple(chunks))
    return replace(result, batch=batch), AccessPolicy(verifier(), Rules({"team-a/*": ["*"]}), revision="bench")


def record(audit: AuditRecorder, result: BatchResult, ledger: Ledger) -> Outgoing:
    """Return the records that the audit adds to the commit of a micro-batch."""
    emission = Emission({}, {}, ledger)
    for chunk in result.batch.chunks:
        emission.advance(chunk.partition, chunk.next_offset)
    audit.record([result], emission)
    return emission.outgoing[AUDIT]


def cpu_us(work: Callable[[], object], rows: int, *, rounds: int = 200) -> float:
    """Return the least CPU time of `work` in µs per row."""
    best_s = float("inf")
    for _ in range(rounds):
        began_s = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - began_s)
    return best_s / rows * 1e6


def time_recording(rows: int, repository: Path) -> dict[str, float]:
    """Return the CPU time in µs per event of a worker's other stages, and of the audit with some contents."""
    bench = Bench(rows, 1, repository)
    of_worker = {
        name: work
        for name, inside, work in bench.stages()
        if not inside and name not in ("split of a chunk", "telemetry with traces, 1 %")
    }
    signed, policy = with_tokens(bench.finished)
    access = AuditedAccess(PolicyHistory(lambda: policy), functools.partial(principal_hash, bytes(32)))
    audits: Mapping[str, tuple[AuditRecorder, BatchResult]] = {
        "audit": (recorder(AuditContent()), bench.finished),
        "audit without ids": (recorder(AuditContent(event_ids=False)), bench.finished),
        "audit with digests of both": (recorder(AuditContent(True, True, True)), bench.finished),
        f"audit with access, {NUM_TOKENS} tokens": (recorder(AuditContent(), access), signed),
    }
    works: dict[str, Callable[[], object]] = dict(of_worker)
    for name, (audit, result) in audits.items():
        works[name] = functools.partial(record, audit, result, bench.ledger)
    taken = {name: float("inf") for name in works}
    for _ in range(5):  # in turn, so that a busy machine slows all of them
        for name, work in works.items():
            taken[name] = min(taken[name], cpu_us(work, rows, rounds=40))
    return {"all other stages": sum(taken[name] for name in of_worker), **{name: taken[name] for name in audits}}


def make_chain(rows: int, count: int, repository: Path) -> list[tuple[bytes, bytes, list[tuple[str, bytes]]]]:
    """Return the blocks of a chain as records, each of a micro-batch with `rows` events."""
    bench = Bench(rows, 1, repository)
    audit, blocks = recorder(AuditContent()), []
    for _ in range(count):
        outgoing = record(audit, bench.finished, bench.ledger)
        blocks += list(zip(outgoing.keys, outgoing.values, outgoing.headers, strict=True))
    return blocks  # type: ignore[return-value]  # blocks have a key and a value


def verify(blocks: Sequence[tuple[bytes, bytes, list[tuple[str, bytes]]]], *, counts: bool) -> float:
    """Return the CPU time in seconds of verifying these blocks. counts: as with `--counts`, without the other topics."""
    keys = TrustedKeys({Signer(KEY).key_id: KEY.public_key()})
    heads: dict[str, ChainHead] = {}
    verifier, tally = ChainVerifier({0: 0}, heads=heads, keys=keys, policy=POLICY), OutcomeTally()
    began_s = time.process_time()
    for offset, (key, value, headers) in enumerate(blocks):
        block = verifier.add(Place(0, offset), key, value, headers)
        if counts and block is not None:
            tally.add(block)
    findings = verifier.finish()
    took_s = time.process_time() - began_s
    assert not findings, findings[:3]
    return took_s


@click.command()
@click.option("--rows", type=click.IntRange(min=1), default=512, show_default=True, help="Events in a micro-batch.")
@click.option("--blocks", type=click.IntRange(min=1), default=1_000, show_default=True, help="Blocks to verify.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rows: int, blocks: int, as_json: bool) -> None:
    """Measure the audit: CPU time per event in a worker, and outcomes verified per second."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="forebay-audit-") as folder:
        per_event_us = time_recording(rows, Path(folder))
        chain = make_chain(rows, blocks, Path(folder) / "chain")
    rates = {
        name: rows * len(chain) / min(verify(chain, counts=counts) for _ in range(3))
        for name, counts in (("verify", False), ("verify --counts", True))
    }
    size = sum(len(value) for _, value, _ in chain) / (rows * len(chain))
    if as_json:
        document = {
            "rows": rows,
            "us_per_event": per_event_us,
            "verified_per_s": rates,
            "bytes_per_event": size,
            "machine": describe_host(),
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    others = per_event_us["all other stages"]
    for name, taken_us in per_event_us.items():
        click.echo(f"{name:32} {taken_us:7.2f} µs an event  {taken_us / others:6.1%} of the others")
    for name, rate in rates.items():
        click.echo(f"{name:32} {rate:11,.0f} outcomes a second")
    click.echo(f"{'size in the topic':32} {size:7.1f} bytes an event, before compression")


if __name__ == "__main__":
    main()
