"""A few resources, served with aiocoap: python3 aiocoap_server.py ADDRESS PORT [IDENTITY KEY]

`/note` for all four methods, `/slow` with a separate response, `/whoami` for the token, `/time` to be observed, with a new state
each half second. With a key it listens for coaps alone, over tinydtls (PyPI: DTLSSocket).
"""

import asyncio, sys
import aiocoap
from aiocoap import resource, Message, Code
from aiocoap.credentials import CredentialsMap

class Note(resource.Resource):
    content = b"empty"
    async def render_get(self, request):
        return Message(payload=self.content, content_format=0)
    async def render_put(self, request):
        Note.content = request.payload
        return Message(code=Code.CHANGED)
    async def render_post(self, request):
        return Message(code=Code.CREATED, payload=request.payload.upper())
    async def render_delete(self, request):
        Note.content = b"empty"
        return Message(code=Code.DELETED)

class Slow(resource.Resource):
    async def render_get(self, request):
        await asyncio.sleep(1)
        return Message(payload=b"at last", content_format=0)

class WhoAmI(resource.Resource):
    async def render_get(self, request):
        return Message(payload=request.token.hex().encode(), content_format=0)

class Time(resource.ObservableResource):
    count = 0
    def update_observation_count(self, count):
        if count and not getattr(self, "ticking", None):
            self.ticking = asyncio.create_task(self.tick())
    async def tick(self):
        while True:
            await asyncio.sleep(0.5)
            Time.count += 1
            self.updated_state()
    async def render_get(self, request):
        return Message(payload=b"%d" % self.count, content_format=0)

async def main():
    site = resource.Site()
    site.add_resource(["note"], Note())
    site.add_resource(["slow"], Slow())
    site.add_resource(["whoami"], WhoAmI())
    site.add_resource(["time"], Time())
    host, port = sys.argv[1], int(sys.argv[2])
    if len(sys.argv) == 3:
        await aiocoap.Context.create_server_context(site, bind=(host, port))
    else:
        dtls = {"client-identity": sys.argv[3].encode(), "psk": sys.argv[4].encode()}
        keys = CredentialsMap()
        keys.load_from_dict({":client": {"dtls": dtls}})
        # It listens for coaps one port above the one that it is given.
        await aiocoap.Context.create_server_context(
            site, bind=(host, port - 1), transports=["tinydtls_server"], server_credentials=keys
        )
    await asyncio.get_running_loop().create_future()

asyncio.run(main())
