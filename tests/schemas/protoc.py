"""Message classes of the generated .proto files, compiled by Protobuf's own compiler."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from forebay.schemas.binary_outputs import proto_text, record_name


@functools.cache
def message_class(output: str) -> Any:
    """Return the class of an output record's message."""
    return compiled(proto_text(output), record_name(output))


def compiled(text: str, name: str) -> Any:
    """Return the class of a message of a file without imports."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file.proto").write_text(text, encoding="utf-8")
        written = Path(folder) / "file.bin"
        status = protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={written}", "file.proto"])
        assert status == 0, "protoc refuses the file"
        files = descriptor_pb2.FileDescriptorSet.FromString(written.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
