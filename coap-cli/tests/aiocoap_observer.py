"""Three states of what is observed, a line each: python3 aiocoap_observer.py URI [CREDENTIALS]

`aiocoap-client --observe` of 0.4.17 prints but the first, of its own server too. CREDENTIALS is a file for its --credentials.
"""

import asyncio, json, sys
from aiocoap import Context, GET, Message

async def main():
    context = await Context.create_client_context()
    if len(sys.argv) == 3:
        with open(sys.argv[2]) as file:
            context.client_credentials.load_from_dict(json.load(file))
    request = context.request(Message(code=GET, uri=sys.argv[1], observe=0))
    print((await request.response).payload.decode())
    count = 1
    async for state in request.observation:
        print(state.payload.decode())
        count += 1
        if count == 3:
            break

asyncio.run(asyncio.wait_for(main(), 20))
