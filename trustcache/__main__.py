"""`python -m trustcache`: the command line."""

from importlib import import_module
from importlib.util import find_spec

if __name__ == "__main__":
    # Installed, or in a checkout.
    import_module("trustcache_cli" if find_spec("trustcache_cli") else "cli").app(prog_name="trustcache")
