"""A loopback server that answers OpenAI's and Anthropic's requests after a set delay: `python server.py`.

Raw asyncio, so that it is quicker than whoever asks it. Prints its port; `/ms/50/` in a request's path is the delay.
Ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

# a verdict for every judge, so that the whole command can be run on it, of about forty words
_TEXT = (
    f"Status: Accept\nRating: 8\nReason: {'It answers what was asked in plain words and gives an example. ' * 3}[[7]]"
)
_OPENAI = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "bench",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 45, "total_tokens": 65},
}
_ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "bench",
    "content": [{"type": "text", "text": _TEXT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 20, "output_tokens": 45},
}
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_DELAY = re.compile(rb"/ms/(\d+)/")


def _response(reply: object) -> bytes:
    body = json.dumps(reply).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


_ANSWERS = {True: _response(_ANTHROPIC), False: _response(_OPENAI)}


class Answering(asyncio.Protocol):
    """One connection: whole requests in, canned replies out, in order."""

    def __init__(self) -> None:
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._held) < whole:
                return
            self._held = self._held[whole:]
            line = head[: head.find(b"\r\n")]
            delay = _DELAY.search(line)
            answer = _ANSWERS[b"/messages" in line]
            if delay and delay[1] != b"0":
                asyncio.get_running_loop().call_later(int(delay[1]) / 1000, self._answer, answer)
            else:
                self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
