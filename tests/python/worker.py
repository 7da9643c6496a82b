"""Runs scenarios with one library: `python worker.py LIBRARY SCENARIO...`, as ../js/matrix/worker.js does."""

import asyncio
import json
import os
import sys
import time
import traceback

from people import Person, now
from raw import publish as publish_raw

PATIENCE = 15
SCENARIO = 300
AGAIN = 60
URL = os.environ["RELAY_URL"]

# Libraries print to stdout as well, so what is ours has a mark.
out = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def say(message):
    out.write(f"matrix: {json.dumps(message)}\n")


def ids(events):
    return sorted(event["id"] for event in events)


def equal(found, wanted):
    assert found == wanted, f"{found} instead of {wanted}"


async def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: it never comes true"
        await asyncio.sleep(0.02)


def notes(who, ages, **draft):
    at = now()
    return [who.sign(**{"content": f"{age} s ago", "created_at": at - age, **draft}) for age in ages]


async def publish(start):
    alice, client = Person(), await start()
    for content in ["hello", 'control \u0001 "quotes" \\ \n', "😂 \u2028"]:
        await client.publish(alice.sign(content=content))
    event, other = notes(alice, [1, 2])
    try:
        await client.publish({**event, "sig": other["sig"]})
    except Exception:
        return
    raise AssertionError("a false signature is not refused")


async def stored(start):
    alice = Person()
    events = notes(alice, [1, 2, 3, 4, 5])
    await publish_raw(URL, *events)
    client = await start()
    equal(ids(await client.query({"authors": [alice.pubkey]})), ids(events))
    equal(ids(await client.query({"authors": [alice.pubkey], "limit": 2})), ids(events[:2]))
    equal(ids(await client.query({"authors": [Person().pubkey]})), [])


async def live(start):
    alice = Person()
    [old] = notes(alice, [60])
    await publish_raw(URL, old)
    client, heard = await start(), []
    await client.subscribe({"kinds": [1, 7, 20001], "authors": [alice.pubkey]}, heard.append)
    events = [alice.sign(kind=kind, content="+") for kind in (1, 7, 20001)]
    await publish_raw(URL, *events)
    await until(lambda: len(heard) >= 4, "one stored and three live events")
    equal(ids(heard), ids([old, *events]))


async def replace(start):
    alice, client = Person(), await start()
    for draft in ({"kind": 0, "content": '{"name":"alice"}'}, {"kind": 30023, "tags": [["d", "post"]]}):
        fresh, old = notes(alice, [1, 2], **draft)
        for event in (old, fresh):
            await client.publish(event)
        found = await (await start()).query({"authors": [alice.pubkey], "kinds": [draft["kind"]]})
        equal(ids(found), [fresh["id"]])


async def delete(start):
    alice, client = Person(), await start()
    gone, kept = notes(alice, [1, 2])
    for event in (gone, kept):
        await client.publish(event)
    await client.publish(alice.sign(kind=5, tags=[["e", gone["id"]], ["k", "1"]]))
    equal(ids(await (await start()).query({"authors": [alice.pubkey], "kinds": [1]})), [kept["id"]])


async def auth(start):
    alice = Person()
    client = await start(alice)
    events = notes(alice, [1, 2], tags=[["-"]])
    for event in events:
        await client.publish(event)
    equal(ids(await (await start()).query({"ids": ids(events)})), ids(events))


async def gift(start):
    bob, eve = Person(), Person()
    first, second = (
        Person().sign(kind=1059, content="sealed", created_at=now() - age, tags=[["p", bob.pubkey]])
        for age in (90_000, 50_000)
    )
    sender = await start()
    await sender.publish(first)
    wraps = {"kinds": [1059], "#p": [bob.pubkey]}
    reader, heard = await start(bob), []
    equal(ids(await reader.query(wraps)), [first["id"]])
    await reader.subscribe(wraps, heard.append)
    await sender.publish(second)
    await until(lambda: second in heard, "a live gift wrap")
    # Some tell of an event once for each client, and the first one is known already.
    equal([event for event in heard if event != first], [second])
    equal(ids(await (await start(eve)).query(wraps)), [])


async def nip46(start):
    app, signer = Person(), Person()
    theirs, ours = await start(signer), await start(app)

    def answer(event):
        tags = [["p", event["pubkey"]]]
        asyncio.ensure_future(theirs.publish(signer.sign(kind=24133, content=f"pong {event['content']}", tags=tags)))

    await theirs.subscribe({"kinds": [24133], "#p": [signer.pubkey]}, answer)
    heard = []
    await ours.subscribe({"kinds": [24133], "#p": [app.pubkey]}, heard.append)
    for content in ("1", "2", "3"):
        await ours.publish(app.sign(kind=24133, content=content, tags=[["p", signer.pubkey]]))
    await until(lambda: len(heard) >= 3, "three responses")
    equal(sorted(event["content"] for event in heard), ["pong 1", "pong 2", "pong 3"])


async def count(start):
    alice = Person()
    await publish_raw(URL, *notes(alice, [1, 2, 3, 4, 5]))
    equal(await (await start()).count({"authors": [alice.pubkey]}), 5)


async def search(start):
    alice = Person()
    word = "w" + alice.pubkey[:12]
    events = notes(alice, [1, 2, 3], content=f"hello {word} there")
    await publish_raw(URL, *events, *notes(alice, [4, 5]))
    client = await start()
    equal(ids(await client.query({"kinds": [1], "search": word})), ids(events))


async def negentropy(start):
    alice = Person()
    events = notes(alice, range(40))
    await publish_raw(URL, *events)
    have = events[20:] + notes(alice, [100, 101, 102])
    missing = await (await start()).missing({"kinds": [1], "authors": [alice.pubkey]}, have)
    equal(sorted(missing), ids(events[:20]))


async def paging(start):
    client, seen, more = await start(), set(), {}
    while True:
        page = await client.query({"kinds": [1], "authors": [os.environ["PAGING_AUTHOR"]], "limit": 2000, **more})
        if seen.issuperset(ids(page)):
            break
        seen.update(ids(page))
        more = {"until": min(event["created_at"] for event in page)}
    equal(len(seen), 5000)


SCENARIOS = {
    work.__name__: work
    for work in (publish, stored, live, replace, delete, auth, gift, nip46, count, search, negentropy, paging)
}


async def run(name, work):
    began = time.monotonic()
    result = {"scenario": name, "ok": True}
    try:
        await work
    except BaseException as error:
        result |= {"ok": False, "error": "".join(traceback.format_exception(error))[-600:]}
    say({**result, "ms": round((time.monotonic() - began) * 1000)})


async def publishes(client):
    """An app tries again when it is told that an event was not sent."""
    alice = Person()
    while True:
        try:
            return await asyncio.wait_for(client.publish(alice.sign(content="after")), 5)
        except Exception as error:
            print("publish:", error, file=sys.stderr)
        await asyncio.sleep(1)


async def survivor(library, url, names, way):
    """A subscription that has to deliver live events again once its relay is back, and a client that has to publish."""
    again = asyncio.Event()
    client = await library.open(url, Person())
    await client.subscribe(
        {"kinds": [1], "authors": [os.environ["LIVE_AUTHOR"]]},
        lambda event: event["content"] == "again" and again.set(),
    )

    async def result():
        if f"{way}-publish" in names:
            await run(f"{way}-publish", asyncio.wait_for(publishes(client), AGAIN))
        if f"{way}-live" in names:
            await run(f"{way}-live", asyncio.wait_for(again.wait(), AGAIN))

    return result


async def private_survivor(library, url, names):
    """The same for private messages, so it must authenticate anew before it is let in again."""
    if "term-gift" not in names:
        return lambda: asyncio.sleep(0)
    bob, heard = Person(), set()
    wraps = {"kinds": [1059], "#p": [bob.pubkey]}
    client = await library.open(url, bob)
    await client.subscribe(wraps, lambda event: heard.add(event["content"]))

    async def listen():
        while "again" not in heard:
            try:
                await publish_raw(url, Person().sign(kind=1059, content="again", tags=[["p", bob.pubkey]]))
            except Exception as error:
                print("publish:", error, file=sys.stderr)
            await asyncio.sleep(1)

    return lambda: run("term-gift", asyncio.wait_for(listen(), AGAIN))


async def main(name, names):
    library = __import__(f"adapter_{name.replace('-', '_')}")
    survivors = [await survivor(library, os.environ[f"{way.upper()}_URL"], names, way) for way in ("term", "kill")]
    survivors.append(await private_survivor(library, os.environ["TERM_URL"], names))
    say({"ready": True})
    line = lambda: asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await line()
    again = asyncio.gather(*(result() for result in survivors))
    await line()
    for scenario in (scenario for scenario in names if scenario in SCENARIOS):
        await run(scenario, asyncio.wait_for(SCENARIOS[scenario](lambda who=None: library.open(URL, who)), SCENARIO))
    say({"tried": True})
    await again
    os._exit(0)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
