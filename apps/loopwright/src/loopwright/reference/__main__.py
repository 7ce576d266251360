"""Write the pages; `python -m loopwright.reference --check` only compares."""

import sys

from loopwright.reference import policy, settings


def main(arguments: list[str]) -> int:
    if missing := [*settings.undocumented(), *policy.undocumented()]:
        print(f"fields without a docstring: {', '.join(missing)}", file=sys.stderr)
        return 1
    status = 0
    for module in (settings, policy):
        content = module.page()
        if "--check" not in arguments:
            module.PAGE.write_text(content)
        elif not module.PAGE.exists() or module.PAGE.read_text() != content:
            print(f"stale: {module.PAGE}; run make docs", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
