#!/bin/sh
# Regenerates the stubs beside the protos. Run from anywhere; needs the `dev` extra.
set -eu
cd "$(dirname "$0")/.."
folder=protos/lanai/v1alpha
protoc="${PYTHON:-python} -m grpc_tools.protoc -I."
$protoc --python_out=. --mypy_out=quiet:. $folder/*.proto
# Only these define services.
$protoc --grpc_python_out=. --mypy_grpc_out=quiet:. \
  $folder/node.proto $folder/gateway.proto $folder/issuer.proto $folder/log.proto
