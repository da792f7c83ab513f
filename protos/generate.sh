#!/bin/sh
# Regenerates the stubs beside the protos. Run from anywhere; needs the `dev` extra.
set -eu
cd "$(dirname "$0")/.."
folder=protos/lanai/v1alpha
# The plugins lie beside the interpreter.
case "${PYTHON:-}" in */*) PATH="$(dirname "$PYTHON"):$PATH" ;; esac
protoc="${PYTHON:-python} -m grpc_tools.protoc -I."
$protoc --python_out=. --mypy_out=quiet:. $folder/*.proto
# Only these define services.
$protoc --grpc_python_out=. --mypy_grpc_out=quiet:. \
  $folder/node.proto $folder/gateway.proto $folder/issuer.proto $folder/log.proto \
  $folder/attestation_ca.proto
