"""The other side of a scenario: a client without a library."""

import json

from tornado.websocket import websocket_connect


async def publish(url, *events):
    """Publishes over a connection of its own; the relay must take every event."""
    socket = await websocket_connect(url)
    for event in events:
        socket.write_message(json.dumps(["EVENT", event]))
    waiting = {event["id"] for event in events}
    while waiting:
        message = json.loads(await socket.read_message())
        if message[0] == "OK":
            assert message[2], message
            waiting.discard(message[1])
    socket.close()
