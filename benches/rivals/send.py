"""aiosmtplib, a connection a task: python send.py HOST PORT MAILS CONNECTIONS SIZE RUN"""

import asyncio
import platform
import sys
import time

import aiosmtplib

FROM, TO = "a@posthaste.example", "b@posthaste.example"


async def send(host, port, numbers, size, run):
    filler = (b"x" * 70 + b"\r\n") * (size // 72 + 1)
    client = aiosmtplib.SMTP(hostname=host, port=port, use_tls=False, start_tls=False)
    await client.connect()
    for number in numbers:
        message_id = f"<{run}.{1_000_000_000 + number}@posthaste.example>"
        head = f"Message-ID: {message_id}\r\nFrom: <{FROM}>\r\nTo: <{TO}>\r\n\r\n".encode()
        content = head + filler[: size - len(head) - 2] + b"\r\n"
        await client.sendmail(FROM, [TO], content)
    await client.quit()


async def main(host, port, mails, connections, size, run):
    start = time.monotonic()
    tasks = (send(host, port, range(n, mails, connections), size, run) for n in range(connections))
    await asyncio.gather(*tasks)
    print(time.monotonic() - start)


if sys.argv[1] == "--version":
    print(f"{aiosmtplib.__version__}, Python {platform.python_version()}")
else:
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
