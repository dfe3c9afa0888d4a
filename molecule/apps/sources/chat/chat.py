"""An ASGI app: HTTP, server-sent events, a WebSocket, and what it has kept since its lifespan began."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Something that is there as long as the app."""
    app.state.begun = True
    yield


app = FastAPI(lifespan=lifespan)


def about() -> dict[str, str]:
    """Which release this is."""
    return {"release": os.environ["PLAINSTACK_RELEASE"], "greeting": os.environ["GREETING"]}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Well."""
    return {"status": "ok"}


@app.get("/about")
async def tell(request: Request) -> dict[str, object]:
    """What the app sees."""
    visitor = {"url": str(request.url), "client": request.client and request.client.host}
    return {**about(), **visitor, "begun": getattr(app.state, "begun", False), "upgrade": request.headers.get("upgrade")}


@app.get("/events")
async def events() -> StreamingResponse:
    """Three events, half a second apart."""

    async def stream() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@app.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    """Say which release it is, then what is said to it."""
    await websocket.accept()
    await websocket.send_text(about()["release"])
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass
