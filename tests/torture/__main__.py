"""Runs the modules of this package for some minutes each; what `scripts/torture` starts."""

import argparse
import importlib
import pkgutil
import sys
import time

import tests.torture


def main() -> int:
    """Run them; the first that fails ends it with 1."""
    names = (each.name for each in pkgutil.iter_modules(tests.torture.__path__) if not each.name.startswith("_"))
    modules = {name: importlib.import_module(f"tests.torture.{name}") for name in names}
    known = {name: module for name, module in sorted(modules.items()) if hasattr(module, "main")}
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each (default: 1)")
    parser.add_argument("--hours", type=float, help="or so many hours")
    parser.add_argument("--kills", type=int, help="of kills: so many, however long it takes")
    parser.add_argument("name", nargs="*", help=f"of {', '.join(known)}; default: all")
    chosen = parser.parse_args()
    for name in chosen.name or known:
        if name not in known:
            parser.error(f"{name}: there are {', '.join(known)}")
        began_s = time.monotonic()
        print(f"{name}: {(known[name].__doc__ or '').splitlines()[0]}")
        more = {"kills": chosen.kills} if name == "kills" else {}
        for line in known[name].main(60 * chosen.hours if chosen.hours else chosen.minutes, **more):
            print(f"  {time.monotonic() - began_s:6.0f} s  {line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
