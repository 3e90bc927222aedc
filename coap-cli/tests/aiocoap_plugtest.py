"""A few resources of the ETSI plugtests, served with aiocoap: python3 aiocoap_plugtest.py ADDRESS PORT"""

import asyncio, sys, time
import aiocoap
from aiocoap import resource, Message, Code

class Test(resource.Resource):
    async def render_get(self, request):
        return Message(payload=b"a test", content_format=0)
    async def render_put(self, request):
        return Message(code=Code.CHANGED)
    async def render_post(self, request):
        return Message(code=Code.CREATED, location_path=["location1", "location2", "location3"])
    async def render_delete(self, request):
        return Message(code=Code.DELETED)

class Separate(resource.Resource):
    async def render_get(self, request):
        await asyncio.sleep(1)
        return Message(payload=b"at last", content_format=0)

class Large(resource.Resource):
    content = b"64 bytes in each line of a text that has more than one block...\n" * 20
    async def render_get(self, request):
        return Message(payload=self.content, content_format=0)

class LargeUpdate(Large):
    async def render_put(self, request):
        self.content = request.payload
        return Message(code=Code.CHANGED)

class LargePost(resource.Resource):
    async def render_post(self, request):
        return Message(code=Code.CHANGED, payload=request.payload.upper(), content_format=0)

class Time(resource.ObservableResource):
    def __init__(self):
        super().__init__()
        asyncio.get_running_loop().create_task(self.tick())
    async def tick(self):
        while True:
            await asyncio.sleep(5)
            self.updated_state()
    async def render_get(self, request):
        return Message(payload=time.strftime("%H:%M:%S").encode(), content_format=0, max_age=5)

async def main():
    site = resource.Site()
    core = lambda: site.get_resources_as_linkheader()
    site.add_resource([".well-known", "core"], resource.WKCResource(core))
    for path in (["test"], ["seg1", "seg2", "seg3"], ["query"]):
        site.add_resource(path, Test())
    site.add_resource(["separate"], Separate())
    site.add_resource(["large"], Large())
    site.add_resource(["large-update"], LargeUpdate())
    site.add_resource(["large-post"], LargePost())
    site.add_resource(["obs"], Time())
    await aiocoap.Context.create_server_context(site, bind=(sys.argv[1], int(sys.argv[2])))
    await asyncio.get_running_loop().create_future()

asyncio.run(main())
