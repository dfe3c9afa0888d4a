"""An ASGI app: HTTP, server-sent events, a WebSocket, and what it has kept since its lifespan began."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, StreamingResponse


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


@app.get("/page")
async def page() -> HTMLResponse:
    """For a browser: it talks over the WebSocket, connects anew when that is closed, and reports what it hears."""
    return HTMLResponse("""<!doctype html>
<title>A chat</title>
<script>
  function connect() {
    const socket = new WebSocket(`wss://${location.host}/ws`);
    let release = "";
    socket.onopen = () => socket.timer = setInterval(() => socket.send("hello"), 200);
    socket.onmessage = (event) => {
      if (!release) { release = event.data; return; }
      fetch("/reports", {method: "POST", body: `${release} ${event.data}`});
    };
    socket.onclose = () => { clearInterval(socket.timer); setTimeout(connect, 200); };
  }
  connect();
</script>
""")


@app.post("/reports")
async def report(request: Request) -> dict[str, str]:
    """Keep what a browser has heard."""
    with Path(os.environ["PLAINSTACK_SHARED"], "reports").open("a", encoding="utf-8") as reports:
        reports.write(f"{time.time()} {(await request.body()).decode()}\n")
    return {"status": "ok"}


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
