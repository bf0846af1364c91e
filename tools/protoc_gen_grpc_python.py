"""A protoc plugin that makes the gRPC service stubs (`*_pb2_grpc.py`).

grpcio-tools carries this generator inside its own protoc and ships no plugin executable, and buf
speaks to plugins only. Reads a CodeGeneratorRequest on stdin, writes a CodeGeneratorResponse on stdout.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def respond(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """The service stubs of the requested files; none for a file without a service."""
    response = CodeGeneratorResponse(
        supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL,
    )
    with_service = [
        file.name for file in request.proto_file if file.service and file.name in request.file_to_generate
    ]
    if not with_service:
        return response
    with tempfile.TemporaryDirectory() as folder:
        descriptors, out = Path(folder, "descriptors"), Path(folder, "out")
        out.mkdir()
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        options = [f"--descriptor_set_in={descriptors}", f"--grpc_python_out={out}"]
        if protoc.main(["protoc", *options, *with_service]):
            response.error = "protoc failed"
        for path in sorted(out.rglob("*_pb2_grpc.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    return response


if __name__ == "__main__":
    incoming = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(respond(incoming).SerializeToString())
