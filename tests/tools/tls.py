"""TLS as a provider's broker has it: a certificate made for the test, and what ends TLS with it."""

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.required import required

__all__ = ["Certificate", "make_certificate", "tls_before"]


@dataclass(frozen=True)
class Certificate:
    """A certificate for the loopback interface that signs itself, so it is its own CA."""

    file: Path
    key: Path


def make_certificate(folder: Path, name: str) -> Certificate:
    """Make one in that folder."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    words = [required("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    words += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    words += ["-out", str(made.file), "-keyout", str(made.key)]
    subprocess.run(words, check=True, capture_output=True)
    return made


@contextmanager
def tls_before(port: int, certificate: Certificate, *, at: int = 0) -> Iterator[int]:
    """End TLS before a server of this machine for as long as the block lasts; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(carry, "127.0.0.1", at, ssl=context)

    async def end() -> None:
        server.close()
        mine = asyncio.all_tasks() - {asyncio.current_task()}
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _pipe(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    """Pass on what comes, until either side is gone."""
    try:
        while data := await source.read(65_536):
            to.write(data)
            await to.drain()
    except OSError:
        pass
    finally:
        to.close()
