import asyncio
import json
import secrets

from pynostr.base_relay import RelayPolicy
from pynostr.event import Event
from pynostr.filters import Filters, FiltersList
from pynostr.message_pool import MessagePool
from pynostr.relay import Relay
from tornado.ioloop import IOLoop

NAMES = {"#p": "pubkey_refs", "#e": "event_refs"}


async def open(url, _me=None):
    return Client(url)


class Client:
    """It sends what waits when it connects, and later only after something came in: so each request has its connection."""

    def __init__(self, url):
        self.url = url
        self.relays = []

    def relay(self, hear):
        relay = Relay(self.url, MessagePool(), IOLoop.current(), RelayPolicy(), 10, False, hear)
        self.relays.append(relay)
        return relay

    async def publish(self, event):
        answer = asyncio.get_running_loop().create_future()
        relay = self.relay(lambda message: message[0] == "OK" and not answer.done() and answer.set_result(message))
        relay.publish(Event.from_dict(event).to_message())
        asyncio.ensure_future(relay.connect())
        message = await answer
        relay.close()
        assert message[2], message

    async def query(self, filter):
        events = []
        relay = await self.ask(filter, events.append)
        relay.close()
        return events

    async def subscribe(self, filter, onevent):
        await self.ask(filter, onevent)

    async def ask(self, filter, onevent):
        end = asyncio.get_running_loop().create_future()

        def hear(message):
            if message[0] == "EVENT":
                onevent(message[2])
            if message[0] == "EOSE" and not end.done():
                end.set_result(None)

        relay = self.relay(hear)
        relay.add_subscription(secrets.token_hex(8), parse(filter))
        asyncio.ensure_future(relay.connect())
        await end
        return relay

    async def count(self, filter):
        answer = asyncio.get_running_loop().create_future()
        relay = self.relay(lambda message: message[0] == "COUNT" and answer.set_result(message[2]["count"]))
        id = secrets.token_hex(8)
        relay.add_subscription(id, parse(filter))
        relay.add_nip45_count(id)
        asyncio.ensure_future(relay.connect())
        count = await answer
        relay.close()
        return count


def parse(filter):
    return FiltersList([Filters(**{NAMES.get(name, name): value for name, value in filter.items()})])
