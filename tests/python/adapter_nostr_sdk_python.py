import asyncio
import json
from datetime import timedelta

import nostr_sdk as sdk

PATIENCE = timedelta(seconds=60)


async def open(url, me=None):
    sdk.uniffi_set_event_loop(asyncio.get_running_loop())
    client = Client(url, me)
    await client.start()
    return client


class Client:
    def __init__(self, url, me):
        builder = sdk.ClientBuilder()
        if me:
            builder = builder.authenticator(sdk.SignerAuthenticator(sdk.Keys.parse(me.hex)))
        self.client = builder.build()
        self.url = sdk.RelayUrl.parse(url)
        self.listeners, self.ends = {}, {}

    async def start(self):
        await self.client.add_relay(self.url)
        await self.client.connect(PATIENCE)
        self.task = asyncio.ensure_future(self.listen(self.client.notifications()))

    async def listen(self, notifications):
        while (notification := await notifications.next()) is not None:
            if notification.is_NEW_EVENT():
                self.hear(notification.subscription_id, notification.event)
            if notification.is_MESSAGE():
                message = json.loads(notification.message.as_json())
                if message[0] == "EOSE" and message[1] in self.ends:
                    self.ends[message[1]].set()

    def hear(self, id, event):
        if id in self.listeners:
            self.listeners[id](json.loads(event.as_json()))

    async def publish(self, event):
        output = await self.client.send_event(sdk.Event.from_json(json.dumps(event)))
        assert not output.failed, output.failed

    async def query(self, filter):
        events = await self.client.fetch_events(sdk.ReqTarget.auto([parse(filter)]), PATIENCE)
        return [json.loads(event.as_json()) for event in events]

    async def subscribe(self, filter, onevent):
        id = f"s{len(self.listeners)}"
        self.listeners[id] = onevent
        self.ends[id] = asyncio.Event()
        await self.client.subscribe(sdk.ReqTarget.auto([parse(filter)]), id)
        await asyncio.wait_for(self.ends[id].wait(), 10)

    async def count(self, filter):
        return await (await self.client.relay(self.url)).count_events(parse(filter), PATIENCE)

    async def missing(self, filter, have):
        items = [
            sdk.NegentropyItem(id=sdk.EventId.parse(event["id"]), timestamp=sdk.Timestamp.from_secs(event["created_at"]))
            for event in have
        ]
        relay = await self.client.relay(self.url)
        summary = await relay.sync(parse(filter), items, sdk.SyncOptions().dry_run())
        return [id.to_hex() for id in summary.remote]


def parse(filter):
    return sdk.Filter.from_json(json.dumps(filter))
