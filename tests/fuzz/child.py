"""Try a range of mutations in a process of its own, which a crash may end.

    python -m tests.fuzz.child REPOSITORY TRAITS FIRST LAST

TRAITS is the JSON document of the seed's traits; the seeds themselves are not imported, because they need torch. A line is
printed before each case (`begin NUMBER`) and one after it, either `done NUMBER REACHED KIND`, where REACHED is 1 if the
backend's parser was reached, or `fault NUMBER MESSAGE`.
"""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.fuzz.case import Counter, FuzzError, Watch, outcome
from tests.fuzz.mutation import mutated
from tests.fuzz.traits import NAME, Traits, in_memory

MAX_MEMORY_BYTES = 24 << 30  # of address space; torch reserves a lot
MAX_START_S = 300  # imports, and the unchanged artefact
MAX_CASE_S = 60


def main(original: Path, traits: Traits, first: int, last: int) -> int:
    """Exit with 1 if the unchanged artefact is not what is expected. A case that takes too long ends the process."""
    signal.alarm(MAX_START_S)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    watch, counter = Watch(), Counter()
    with tempfile.TemporaryDirectory(dir=in_memory()) as scratch:
        repository = Path(scratch, "case")
        shutil.copytree(original, repository)
        versions = sorted(path for path in (repository / NAME).iterdir() if path.name.isdecimal())
        with contextlib.suppress(FuzzError):  # imports that the backend does late
            outcome(versions[0], watch, trusted=traits.trusted)
        unchanged = outcome(versions[0], watch, trusted=traits.trusted)
        if unchanged != ("untrusted" if traits.is_refused else "served"):
            print(f"fault -1 the unchanged artefact: {unchanged}", flush=True)
            return 1
        contents = {version: {file.name: file.read_bytes() for file in version.iterdir()} for version in versions}
        for number in range(first, last):
            version = versions[number % len(versions)]
            print("begin", number, flush=True)
            signal.alarm(MAX_CASE_S)
            changed = mutated(contents[version], number, traits.files)
            for name, content in changed.items():
                (version / name).write_bytes(content)
            counter.built = 0
            try:
                kind = outcome(version, watch, trusted=traits.trusted)
                print("done", number, min(1, counter.built), kind)
            except Exception as error:  # every exception but ModelError is a fault
                message = f"{version.name}: {type(error).__name__}: {error}"
                print("fault", number, " ".join(message.split())[:1000])
            for name in changed:
                (version / name).write_bytes(contents[version][name])
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Traits(**json.loads(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])))
