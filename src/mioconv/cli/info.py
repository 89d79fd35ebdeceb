"""Show which providers are available, what is behind them, and why one is not."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from mioconv.providers import ProviderInfo, get_version_info, providers

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Print what was found; a provider that is missing is an answer, not a failure."""
    found = providers()
    versions = get_version_info()
    if args.json:
        report = {"versions": versions, "providers": {k: asdict(v) for k, v in found.items()}}
        print(json.dumps(report, indent=2))
        return 0
    print(
        f"mioconv {versions['mioconv']} (Python {versions['python']}, NumPy {versions['numpy']}, "
        f"compiled by Cython {versions['cython']})"
    )
    for info in found.values():
        print()
        print("\n".join(_lines(info)))
    return 0


def _lines(info: ProviderInfo) -> list[str]:
    state = "available" if info.available else "not available"
    lines = [f"{info.name}: {state} (serves {info.serves})"]
    if info.description:
        lines.append(f"  {info.description}")
    lines += [f"  {what}: {path} ({info.found[what]})" for what, path in info.paths.items()]
    lines += [f"  {what}: {_version(what, value)}" for what, value in info.versions.items()]
    lines += [f"  device {index}: {_device(device)}" for index, device in enumerate(info.devices)]
    if info.missing:
        lines.append(f"  without {', '.join(info.missing)}")
    if info.note:
        lines += [f"  note: {line}" for line in info.note.splitlines()]
    if info.error:
        lines += [f"  {line}" for line in info.error.splitlines()]
    return lines


def _version(what: str, value: Any) -> str:
    if what.startswith("hip") and value:
        # HIP packs its version into one number.
        return f"{value // 10**7}.{value // 10**5 % 100}.{value % 10**5}"
    return ".".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _device(device: dict[str, Any]) -> str:
    parts = [str(device["name"])]
    if device["architecture"] not in ("", device["name"]):
        parts.append(str(device["architecture"]))
    parts.append(f"{device['compute_units']} compute units")
    parts.append(f"{device['total_memory'] / 2**30:.1f} GiB")
    return ", ".join(parts)
