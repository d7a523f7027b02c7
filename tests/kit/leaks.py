"""A search for secrets, raw and in base64, in all that a build leaves behind: layers, configurations, histories, attestations, caches, output."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import zstandard

from kit.engines import Engine
from kit.registry import Registry


def forms(secret: str) -> set[bytes]:
    """The secret, and what of it is in any text that holds it in base64: at each of the three alignments, without the
    characters that its neighbours decide. Of a secret of several lines each one, since line ends get lost and escaped."""
    found = set()
    for line in secret.splitlines():
        raw = line.strip().encode()
        # The first lines are alike in all private keys.
        if len(raw) < 16 or raw.startswith((b"-----", b"b3BlbnNzaC1rZXktdjE")):
            continue
        found.add(raw)
        for before in range(3):
            encoded = base64.b64encode(b"\0" * before + raw)
            found.add(encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    assert found, "there is nothing to search for"
    return found


def contents(registry: Registry, repository: str, but: Collection[str] = ()) -> Iterator[tuple[str, bytes]]:
    """What a registry holds of a repository: each manifest, configuration, attestation, cache record, and each layer,
    unpacked, but the given layers (of base images, say)."""
    seen = set(but)
    for tag in sorted(registry.tags(repository)):
        manifests = [tag]
        for reference in manifests:
            _, body = registry.ask(f"{repository}/manifests/{reference}")
            yield f"manifest {reference}", body
            parsed = json.loads(body)
            for layer, content in zip(parsed.get("layers", ()), diff_ids(registry, repository, parsed)):
                if content in but:
                    seen.add(layer["digest"])
            parts = [*parsed.get("layers", ()), *([parsed["config"]] if "config" in parsed else []), *parsed.get("manifests", ())]
            for part in parts:
                if part["digest"] in seen:
                    continue
                seen.add(part["digest"])
                # A cache made by mode=max is an index whose parts are layers.
                if "manifest" in part["mediaType"] or "image.index" in part["mediaType"]:
                    manifests.append(part["digest"])
                    continue
                _, blob = registry.ask(f"{repository}/blobs/{part['digest']}")
                yield f"{part['mediaType']} {part['digest']}", unpacked(blob)


def unpacked(blob: bytes) -> bytes:
    if blob.startswith(b"\x1f\x8b"):
        return gzip.decompress(blob)
    if blob.startswith(zstandard.FRAME_HEADER):
        return zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress(blob)
    return blob


def diff_ids(registry: Registry, repository: str, manifest: Mapping[str, Any]) -> list[str]:
    """The digests of an image's layers as they are unpacked, which are the same however they are compressed."""
    if "image" not in manifest.get("config", {}).get("mediaType", ""):
        return []
    _, body = registry.ask(f"{repository}/blobs/{manifest['config']['digest']}")
    return list(json.loads(body).get("rootfs", {}).get("diff_ids", ()))


def layers(registry: Registry, reference: str) -> set[str]:
    """The digests of a base image's layers, as they are stored and as they are unpacked."""
    repository, _, tag = reference.partition("/")[2].rpartition(":")
    _, manifest = registry.manifest(repository, tag)
    if "layers" not in manifest:
        _, manifest = registry.manifest(repository, manifest["manifests"][0]["digest"])
    return {*(layer["digest"] for layer in manifest["layers"]), *diff_ids(registry, repository, manifest)}


def said(engine: Engine, image: str) -> Iterator[tuple[str, bytes]]:
    """What an engine says of an image."""
    yield f"history of {image}", engine.docker("history", "--no-trunc", "--format={{json .}}", image).encode()
    yield f"configuration of {image}", engine.docker("image", "inspect", image).encode()


def leaks(secrets: Iterable[str], places: Iterable[tuple[str, bytes]]) -> list[str]:
    """The places that hold one of the secrets, in any form, also broken into lines."""
    wanted = [form for secret in secrets for form in forms(secret)]
    return [name for name, content in places if any(form in text for text in (content, content.replace(b"\n", b"")) for form in wanted)]
