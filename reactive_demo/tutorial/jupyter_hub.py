"""Notebooks on a JupyterHub, as on Binder: the browser is on another machine than the kernel."""

import os
from urllib.parse import urlsplit

__all__ = ["browser_url", "service_prefix"]


def service_prefix() -> str:
    """Return the path of this reader's Jupyter server on its hub, or '' if there is no hub."""
    return os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "")


def browser_url(url: str) -> str:
    """Return where the reader's browser finds a web server of this kernel.

    On a hub that is a path of jupyter-server-proxy, which must be installed there.
    """
    prefix, parts = service_prefix(), urlsplit(url)
    if not (prefix and parts.port):
        return url
    return f"{prefix.rstrip('/')}/proxy/{parts.port}{parts.path}"
