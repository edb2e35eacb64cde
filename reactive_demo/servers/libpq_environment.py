"""Keep libpq's environment variables, which are meant for other servers, from the embedded one.

libpq fills whatever a URL leaves open from PGHOSTADDR, PGOPTIONS, PGSSLMODE and two dozen more. So
the URL of the embedded server is completed with a neutral value for each of them that is set, and
for no others, because older clients and other drivers do not know all of these parameters.
"""

import os
from collections.abc import MutableMapping
from urllib.parse import quote

__all__ = ["NEUTRAL", "NOT_OVERRIDABLE", "shielded"]

NEUTRAL = {
    "PGPORT": ("port", "5432"),
    "PGSSLMODE": ("sslmode", "disable"),
    "PGHOSTADDR": ("hostaddr", ""),
    "PGOPTIONS": ("options", ""),
    "PGCLIENTENCODING": ("client_encoding", "UTF8"),
    "PGCONNECT_TIMEOUT": ("connect_timeout", "10"),
    "PGCHANNELBINDING": ("channel_binding", "prefer"),
    "PGREQUIREAUTH": ("require_auth", ""),
    "PGREQUIREPEER": ("requirepeer", ""),
    "PGTARGETSESSIONATTRS": ("target_session_attrs", "any"),
    "PGLOADBALANCEHOSTS": ("load_balance_hosts", "disable"),
    "PGGSSENCMODE": ("gssencmode", "disable"),
    "PGSSLNEGOTIATION": ("sslnegotiation", "postgres"),
    "PGSSLCERTMODE": ("sslcertmode", "allow"),
    "PGSSLROOTCERT": ("sslrootcert", ""),
    "PGSSLMINPROTOCOLVERSION": ("ssl_min_protocol_version", ""),
    "PGSSLMAXPROTOCOLVERSION": ("ssl_max_protocol_version", ""),
    "PGMINPROTOCOLVERSION": ("min_protocol_version", "3.0"),
    "PGMAXPROTOCOLVERSION": ("max_protocol_version", "3.0"),
}
"""The parameter that overrides each variable, and the value with which it does nothing.

PGHOST, PGUSER and PGDATABASE are not here, because the URL always says those. The others do nothing
where there is neither a password nor TLS nor Kerberos.
"""

NOT_OVERRIDABLE = ("PGSERVICE", "PGTZ", "PGDATESTYLE", "PGGEQO")
"""Variables that no URL overrides, and each of which can make every connection fail."""


def shielded(url: str, environ: MutableMapping[str, str] = os.environ) -> str:
    """Return the embedded server's `url`, completed so that libpq's environment does not matter.

    Removes from the environment what a URL cannot override.
    """
    for name in NOT_OVERRIDABLE:
        environ.pop(name, None)
    parameters = [NEUTRAL[name] for name in NEUTRAL if name in environ]
    return url + "".join(f"&{key}={quote(value)}" for key, value in parameters)
